//! Links the component with the usual memory. Called by Cargo.

fn main() {
    galo_link::component();
}
