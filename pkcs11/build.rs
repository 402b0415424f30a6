//! Links the module so that it stays mapped after `dlclose`: a thread may still be in it, and its handlers of fork are registered.

fn main() {
    println!("cargo::rustc-cdylib-link-arg=-Wl,-z,nodelete");
}
