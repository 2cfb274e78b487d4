//! Compiles the .proto files without `protoc`: descriptors by protox, messages by prost, services by tonic.

use prost_reflect::{DescriptorPool, DynamicMessage, ExtensionDescriptor, MethodDescriptor};
use std::{error::Error, fmt::Write as _, fs, path::PathBuf};

/// The packages whose services are interfaces: their methods become operations.
const INTERFACES: &[&str] = &["prism.kv.v1"];

/// `google/protobuf/struct.proto` is in no contract's imports, but plugins get their configuration in it.
const FILES: &[&str] = &[
    "google/protobuf/struct.proto",
    "prism/plugin/plugin.proto",
    "prism/plugin/options.proto",
    "prism/data/v1/data.proto",
    "prism/kv/v1/kv.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=prism");

    let out = PathBuf::from(std::env::var_os("OUT_DIR").ok_or("OUT_DIR is not set")?);
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_imports(true).include_source_info(true).open_files(FILES)?;

    // Encoded by protox and not through prost's types, which know no extensions: the method options must
    // survive. Comments stay in: they are the documentation that reflection shows.
    fs::write(out.join("descriptors.bin"), compiler.encode_file_descriptor_set())?;
    fs::write(out.join("interfaces.rs"), interfaces(&compiler.descriptor_pool())?)?;

    let mut set = compiler.file_descriptor_set();
    // Descriptors are read by those who have a library for it; typed services need no stubs.
    set.file.retain(|file| {
        !matches!(file.name(), "google/protobuf/descriptor.proto" | "prism/plugin/options.proto")
    });
    set.file
        .iter_mut()
        .filter(|file| INTERFACES.contains(&file.package()))
        .for_each(|file| file.service.clear());

    prost_build::Config::new()
        .out_dir(out)
        .compile_well_known_types()
        .bytes(["."])
        .enable_type_names()
        .type_name_domain(["."], "type.googleapis.com")
        .disable_comments([".google"])
        // It holds secrets; its `Debug` is written by hand.
        .skip_debug([".prism.plugin.InitializeRequest"])
        .include_file("contracts.rs")
        .service_generator(tonic_prost_build::configure().build_transport(false).service_generator())
        .compile_fds(set)?;
    Ok(())
}

/// The methods of every interface as a Rust table, read from their options.
fn interfaces(pool: &DescriptorPool) -> Result<String, Box<dyn Error>> {
    let option = pool.get_extension_by_name("prism.plugin.operation").ok_or("no method option")?;
    let mut table = String::from("&[\n");
    for package in INTERFACES {
        writeln!(table, "Interface {{ package: {package:?}, methods: &[")?;
        for service in pool.services().filter(|service| service.package_name() == *package) {
            for method in service.methods() {
                writeln!(table, "{},", entry(service.full_name(), &method, &option)?)?;
            }
        }
        table.push_str("] },\n");
    }
    table.push(']');
    Ok(table)
}

fn entry(
    service: &str,
    method: &MethodDescriptor,
    option: &ExtensionDescriptor,
) -> Result<String, Box<dyn Error>> {
    let options = method.options();
    let stated = options.get_extension(option);
    let stated = stated.as_message().ok_or("the method option is no message")?;
    let flag = |name: &str| flag(stated, name);
    let number = stated.get_field_by_name("kind").and_then(|kind| kind.as_enum_number()).unwrap_or_default();
    let kind = ["Unspecified", "Read", "Write", "Admin"][usize::try_from(number)?];
    if kind == "Unspecified" {
        return Err(format!("{service}/{} states no kind", method.name()).into());
    }
    Ok(format!(
        "Method {{ operation: {:?}, service_method: \"{service}/{}\", kind: Kind::{kind}, idempotent: {}, \
         raw: {}, client_streaming: {}, server_streaming: {}, params_type: {:?}, result_type: {:?} }}",
        snake_case(method.name()),
        method.name(),
        flag("idempotent"),
        flag("raw"),
        method.is_client_streaming(),
        method.is_server_streaming(),
        method.input().full_name(),
        method.output().full_name(),
    ))
}

fn flag(message: &DynamicMessage, name: &str) -> bool {
    message.get_field_by_name(name).and_then(|value| value.as_bool()).unwrap_or_default()
}

fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for (at, letter) in name.char_indices() {
        if letter.is_ascii_uppercase() && at > 0 {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}
