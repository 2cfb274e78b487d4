//! Makes the stubs. protox reads `.proto` files itself; with `protoc` at hand, `compile_protos` would do.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../../proto/prism");
    let files = protox::compile(["prism/kv/v1/kv.proto"], ["../../proto"])?;
    tonic_prost_build::configure().build_server(false).compile_fds(files)?;
    Ok(())
}
