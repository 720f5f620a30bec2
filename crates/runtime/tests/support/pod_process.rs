//! The program that the runtime's tests start as a Pod's process.

fn main() {
    runtime::shim_main()
}
