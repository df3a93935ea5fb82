//! The reference of every method, message and closed set.

use std::fmt::Write;

use crate::{
    contract::{Contract, Enumeration, Field, Message, Method, Package},
    errors::OF_ANY_METHOD,
};

const HEAD: &str = "# The contracts

Generated from the contracts by `cargo run --example docs -- docs`; to change it, change the comments in `proto/`.

Every method listed here is served, over gRPC, through one port. A call carries the identity of an institution; the
method says which kinds of institution may make it, and every other kind is refused with
[CALLER_NOT_ALLOWED](errors/CALLER_NOT_ALLOWED.md). A write carries a `request_id`: the same one with the same request has
one effect and gets the stored answer. A method that is idempotent may be repeated after an unknown outcome.

The gateway speaks gRPC; the HTTP binding fixes how the same method reads as JSON over HTTP, where an `int64` is a string.
Dates are `YYYY-MM-DD` in Asia/Jakarta, amounts whole rupiah.

Each field has a data class: *public*, *administrative* (institutions, document numbers), *personal* (identifies a person),
*financial* (money of a person or a bill), *health*.
";

/// The whole reference.
pub(crate) fn page(contract: &Contract) -> String {
    let mut page = String::from(HEAD);
    let any: Vec<_> = OF_ANY_METHOD.iter().map(|name| link(name)).collect();
    let _infallible =
        write!(page, "\nBeside the reasons it names, any method may fail with {}.\n", any.join(", "));

    page.push_str("\n| package | service | methods |\n|---|---|---|\n");
    for package in &contract.packages {
        for service in &package.services {
            let methods: Vec<_> = service
                .methods
                .iter()
                .map(|method| format!("[{}](#{})", method.name, method.full_name))
                .collect();
            let _infallible =
                writeln!(page, "| `{}` | {} | {} |", package.name, service.name, methods.join(", "));
        }
    }
    for package in contract.packages.iter().filter(|package| !package.services.is_empty()) {
        write_package(&mut page, package);
    }
    page
}

fn write_package(page: &mut String, package: &Package) {
    let _infallible = write!(page, "\n## {}\n\n{}\n", package.name, package.about);
    for service in &package.services {
        let _infallible = write!(page, "\n### {}\n\n{}\n", service.name, service.about);
        for method in &service.methods {
            write_method(page, method);
        }
    }
    if !package.messages.is_empty() {
        let _infallible = write!(page, "\n### Messages of {}\n", package.name);
        for message in &package.messages {
            let name = short(&message.full_name);
            let _infallible =
                write!(page, "\n{}\n#### {name}\n\n{}\n", anchor(&message.full_name), message.about);
            write_fields(page, message);
        }
    }
    if !package.enums.is_empty() {
        let _infallible = write!(page, "\n### Closed sets of {}\n", package.name);
        for words in &package.enums {
            write_enum(page, words);
        }
    }
}

fn write_method(page: &mut String, method: &Method) {
    let _infallible =
        write!(page, "\n{}\n#### {}\n\n{}\n\n", anchor(&method.full_name), method.name, method.about);
    let effect = if method.writes { "writes" } else { "reads" };
    let idempotent = if method.idempotent { "idempotent" } else { "not idempotent" };
    let mut facts = vec![
        ("gRPC", format!("`{}`", method.path)),
        ("callers", method.callers.join(", ")),
        ("effect", format!("{effect}, {idempotent}")),
    ];
    if let Some((verb, path, body)) = &method.http {
        let body = match body.as_str() {
            "" => String::new(),
            "*" => ", the body is the request".to_owned(),
            field => format!(", the body is `{field}`"),
        };
        facts.push(("HTTP", format!("`{verb} {path}`{body}")));
    }
    match (method.streams_requests, method.streams_responses) {
        (false, false) => {}
        (true, false) => facts.push(("stream", "of requests".to_owned())),
        (false, true) => facts.push(("stream", "of responses".to_owned())),
        (true, true) => facts.push(("stream", "of requests and of responses".to_owned())),
    }
    facts.push(("fails with", linked(method)));
    page.push_str("| | |\n|---|---|\n");
    for (what, fact) in facts {
        let _infallible = writeln!(page, "| {what} | {fact} |");
    }
    let lead = if method.streams_requests { "Each request" } else { "Request" };
    write_part(page, lead, &method.request);
    let lead = if method.streams_responses { "Each response" } else { "Response" };
    write_part(page, lead, &method.response);
}

/// What the comment says after "Fails with:", each reason a link to its page.
fn linked(method: &Method) -> String {
    let text = method.fails.as_deref().unwrap_or_default().trim_end_matches('.');
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let mut linked = String::new();
    let mut rest = text;
    while let Some(start) = rest.find(is_of_name) {
        let end = rest[start..].find(|c: char| !is_of_name(c)).map_or(rest.len(), |length| start + length);
        let word = &rest[start..end];
        linked.push_str(&rest[..start]);
        if method.reasons.iter().any(|reason| reason == word) {
            linked.push_str(&link(word));
        } else {
            linked.push_str(word);
        }
        rest = &rest[end..];
    }
    linked + rest
}

fn link(reason: &str) -> String {
    format!("[{reason}](errors/{reason}.md)")
}

fn write_part(page: &mut String, lead: &str, message: &Message) {
    let _infallible = write!(page, "\n{lead} `{}`", short(&message.full_name));
    if message.fields.is_empty() {
        page.push_str(", without fields.\n");
    } else {
        page.push_str(":\n");
        write_fields(page, message);
    }
}

fn write_fields(page: &mut String, message: &Message) {
    if message.fields.is_empty() {
        return;
    }
    page.push_str("\n| field | type | class | meaning |\n|---|---|---|---|\n");
    for field in &message.fields {
        let group = field.oneof.as_ref().map(|group| format!(" One of *{group}*.")).unwrap_or_default();
        let _infallible = writeln!(
            page,
            "| `{}` | {} | {} | {}{group} |",
            field.name,
            kind(field),
            field.data_class,
            cell(&field.about),
        );
    }
}

fn kind(field: &Field) -> String {
    match &field.of {
        Some(full_name) => format!("[{}](#{full_name})", field.kind),
        None => field.kind.clone(),
    }
}

fn write_enum(page: &mut String, words: &Enumeration) {
    let name = short(&words.full_name);
    let _infallible = write!(page, "\n{}\n#### {name}\n\n{}\n", anchor(&words.full_name), words.about);
    page.push_str("\n| value | meaning |\n|---|---|\n");
    for (name, about) in &words.values {
        let _infallible = writeln!(page, "| `{name}` | {} |", cell(about));
    }
}

fn anchor(full_name: &str) -> String {
    format!("<a id=\"{full_name}\"></a>\n")
}

fn short(full_name: &str) -> &str {
    full_name.rsplit('.').next().unwrap_or(full_name)
}

/// A text as it may stand in a cell of a table.
pub(crate) fn cell(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}
