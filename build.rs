//! Links zvwatch without position independence: the relocations of a PIE are some 80 KiB of private memory in each of its two processes,
//! and there may be a thousand of them. The other programs stay as they are.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rustc-link-arg-bin=zvwatch=-no-pie");
}
