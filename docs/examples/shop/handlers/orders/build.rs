//! Links the component, with the default memory.

fn main() {
    galo_link::component();
}
