//! Links the component with the usual memory.

fn main() {
    galo_link::component();
}
