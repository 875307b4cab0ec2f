//! The faults of `galo_bank::faults`, with what a container can have of them.

use galo_bank::faults;

use crate::stack::Stack;

pub fn nothing_but_swaps(stack: &mut Stack) {
    stack.check(async |stack| faults::nothing_but_swaps(stack).await);
}

pub fn a_node_is_killed_again_and_again(stack: &mut Stack) {
    stack.check(async |stack| faults::a_node_is_killed_again_and_again(stack).await);
}

pub fn both_nodes_are_restarted_in_turn(stack: &mut Stack) {
    stack.check(async |stack| faults::both_nodes_are_restarted_in_turn(stack).await);
}

pub fn a_node_hangs(stack: &mut Stack) {
    stack.check(async |stack| faults::a_node_hangs(stack).await);
}

pub fn postgres_is_killed(stack: &mut Stack) {
    stack.check(async |stack| faults::postgres_is_killed(stack).await);
}

pub fn nginx_is_reloaded(stack: &mut Stack) {
    stack.check(async |stack| faults::nginx_is_reloaded(stack).await);
}

pub fn clients_leave_right_after_sending(stack: &mut Stack) {
    stack.check(async |stack| faults::clients_leave_right_after_sending(stack).await);
}
