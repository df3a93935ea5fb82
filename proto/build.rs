//! Compiles every `.proto` under this folder, and refuses a contract that breaks a law of the house:
//! a field without a data class, a method without a policy. Writes the methods and their policies as a table.

use std::{
    env,
    fmt::Write as _,
    fs, io,
    path::{Path, PathBuf},
};

use prost_reflect::{DescriptorPool, DynamicMessage, ReflectMessage, Value};

/// Number of `EFFECT_WRITE`.
const WRITE: i32 = 2;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);

    let mut files = Vec::new();
    contracts_under(&root.join("jkn"), &mut files)?;
    files.sort();
    println!("cargo:rerun-if-changed=jkn");
    println!("cargo:rerun-if-changed=google");

    let mut compiler = protox::Compiler::new([&root])?;
    compiler.include_imports(true).include_source_info(true).open_files(&files)?;
    // Encoded by protox, not by prost: prost would drop the options, which are extensions to it.
    let encoded = compiler.encode_file_descriptor_set();
    let pool = DescriptorPool::decode(encoded.as_slice())?;
    refuse_unclassified(&pool)?;
    fs::write(out.join("methods.rs"), table(&pool)?)?;
    fs::write(out.join("descriptor_set.bin"), encoded)?;

    let mut messages = prost_build::Config::new();
    // Type names: an event is told by the full name of its message.
    messages.enable_type_names().bytes([".jkn.feed.v1.Event.body"]).include_file("packages.rs");
    // Messages of a kilobyte, in answers that are handed from one task to another.
    for answer in ["SubmitClaimResponse.claim", "IssueSepResponse.sep"] {
        messages.boxed(format!(".jkn.claims.v1.{answer}"));
    }
    tonic_prost_build::configure().compile_fds_with_config(compiler.file_descriptor_set(), messages)?;
    Ok(())
}

fn contracts_under(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            contracts_under(&path, found)?;
        } else if path.extension().is_some_and(|e| e == "proto") {
            found.push(path);
        }
    }
    Ok(())
}

fn refuse_unclassified(pool: &DescriptorPool) -> Result<(), String> {
    let data_class =
        pool.get_extension_by_name("jkn.options.v1.data_class").ok_or("jkn.options.v1.data_class is gone")?;
    let policy =
        pool.get_extension_by_name("jkn.options.v1.policy").ok_or("jkn.options.v1.policy is gone")?;
    let ours = |package: &str| package.starts_with("jkn.") && package != "jkn.options.v1";
    let mut faults = Vec::new();

    for message in pool.all_messages().filter(|m| ours(m.package_name()) && !m.is_map_entry()) {
        for field in message.fields() {
            let options = field.options();
            if !is_set(&options, &data_class) {
                faults.push(format!("field {} has no (jkn.options.v1.data_class)", field.full_name()));
            }
        }
    }
    for service in pool.services().filter(|s| ours(s.package_name())) {
        for method in service.methods() {
            let options = method.options();
            let declared = options.has_extension(&policy) && {
                let value = options.get_extension(&policy);
                value.as_message().is_some_and(|p| {
                    let callers = p.get_field_by_name("callers");
                    let effect = p.get_field_by_name("effect");
                    callers.is_some_and(|c| c.as_list().is_some_and(|l| !l.is_empty()))
                        && effect.is_some_and(|e| e.as_enum_number().is_some_and(|n| n != 0))
                })
            };
            if !declared {
                faults.push(format!(
                    "method {} has no (jkn.options.v1.policy) with callers and effect",
                    method.full_name()
                ));
            }
        }
    }
    if faults.is_empty() { Ok(()) } else { Err(format!("contracts refused:\n  {}", faults.join("\n  "))) }
}

/// The methods as a slice of `Method`, in the order of their paths.
fn table(pool: &DescriptorPool) -> Result<String, Box<dyn std::error::Error>> {
    let extension = pool.get_extension_by_name("jkn.options.v1.policy").ok_or("the policy is gone")?;
    let services = pool.services().filter(|service| service.package_name().starts_with("jkn."));
    let mut methods: Vec<_> = services.flat_map(|service| service.methods().collect::<Vec<_>>()).collect();
    methods.sort_by_key(|method| format!("/{}/{}", method.parent_service().full_name(), method.name()));

    let mut table = String::from("&[\n");
    for method in methods {
        let service = method.parent_service();
        let options = method.options();
        let policy = options.get_extension(&extension);
        let policy = policy.as_message().ok_or("a policy is a message")?;
        let number = |field: &str| policy.get_field_by_name(field).and_then(|value| value.as_enum_number());
        let idempotent = policy.get_field_by_name("idempotent").and_then(|value| value.as_bool());
        let system = service.package_name().split('.').nth(1).ok_or("a package has a system")?;
        writeln!(
            table,
            "Method {{ path: {:?}, service: {:?}, system: {:?}, callers: &[{}], writes: {}, idempotent: {}, \
             server_streaming: {}, client_streaming: {} }},",
            format!("/{}/{}", service.full_name(), method.name()),
            service.full_name(),
            system.replace('_', "-"),
            callers(policy)?,
            number("effect") == Some(WRITE),
            idempotent.unwrap_or(false),
            method.is_server_streaming(),
            method.is_client_streaming(),
        )?;
    }
    table.push(']');
    Ok(table)
}

/// The kinds of institution that a policy names, as variants of the generated enumeration.
fn callers(policy: &DynamicMessage) -> Result<String, Box<dyn std::error::Error>> {
    let kinds = policy
        .descriptor()
        .parent_pool()
        .get_enum_by_name("jkn.options.v1.InstitutionKind")
        .ok_or("jkn.options.v1.InstitutionKind is gone")?;
    let named = policy.get_field_by_name("callers").ok_or("callers are gone")?;
    let mut variants = String::new();
    for kind in named.as_list().ok_or("callers are a list")? {
        let kind =
            kind.as_enum_number().and_then(|number| kinds.get_value(number)).ok_or("an unknown caller")?;
        let name = kind.name().trim_start_matches("INSTITUTION_KIND_");
        write!(variants, "InstitutionKind::{}{}, ", &name[..1], name[1..].to_lowercase())?;
    }
    Ok(variants)
}

fn is_set(options: &DynamicMessage, extension: &prost_reflect::ExtensionDescriptor) -> bool {
    options.has_extension(extension)
        && matches!(*options.get_extension(extension), Value::EnumNumber(number) if number != 0)
        && options.descriptor().full_name() == "google.protobuf.FieldOptions"
}
