//! What every contract must say, beyond what the build itself refuses.

#![allow(clippy::unwrap_used)]

#[path = "../examples/docs/contract.rs"]
#[allow(dead_code, reason = "the documentation reads more of it")]
mod contract;

use std::collections::BTreeSet;

use contract::Contract;

fn contract() -> Contract {
    Contract::read(proto::pool())
}

fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n  {}", faults.join("\n  "));
}

#[test]
fn every_method_names_the_reasons_it_fails_with_and_every_reason_what_to_do_next() {
    none(&contract().faults());
}

#[test]
fn every_mutation_has_a_request_id() {
    let contract = contract();
    // The rows of a stream have keys of their own.
    let unkeyed = contract
        .methods()
        .filter(|method| method.writes && !method.streams_requests)
        .filter(|method| {
            !method.request.fields.iter().any(|field| field.name == "request_id" && field.kind == "string")
        })
        .map(|method| method.full_name.clone());
    none(&unkeyed.collect::<Vec<_>>());
}

#[test]
fn every_method_has_an_http_binding_of_its_own() {
    let contract = contract();
    // The feed is served by every service, so no path could say which is meant; JSON knows no stream of requests.
    let bound = contract
        .methods()
        .filter(|method| !method.streams_requests && !method.full_name.starts_with("jkn.feed."));
    let mut faults = Vec::new();
    let mut taken = BTreeSet::new();
    for method in bound {
        match &method.http {
            None => faults.push(format!("{} has no google.api.http", method.full_name)),
            Some((verb, path, body)) => {
                let name = method.full_name.as_str();
                if !path.starts_with("/v1/") {
                    faults.push(format!("{name}: {path} does not begin with /v1/"));
                }
                if (verb == "GET") != body.is_empty() {
                    faults.push(format!("{name}: a GET has no body, every other verb has one"));
                }
                if !taken.insert((verb.clone(), path.clone())) {
                    faults.push(format!("{name}: {verb} {path} is another method's too"));
                }
            }
        }
    }
    none(&faults);
}

#[test]
fn nothing_of_a_person_stands_in_a_path_or_a_query() {
    let contract = contract();
    let sensitive = |class: &str| matches!(class, "personal" | "financial" | "health");
    let mut faults = Vec::new();
    for method in contract.methods() {
        let Some((_, path, body)) = &method.http else { continue };
        for field in method.request.fields.iter().filter(|field| sensitive(&field.data_class)) {
            let in_path =
                path.contains(&format!("{{{}}}", field.name)) || path.contains(&format!("{{{}=", field.name));
            if body.is_empty() || in_path {
                faults.push(format!(
                    "{}: {} is {}, and would stand in an URL",
                    method.full_name, field.name, field.data_class
                ));
            }
        }
    }
    none(&faults);
}

#[test]
fn an_event_tells_nothing_of_health_and_nobody_by_name() {
    // Whatever else they tell, these words are in none.
    const FORBIDDEN: [&str; 6] =
        ["nik", "card_number", "name", "diagnosis_code", "diagnosis_codes", "address"];
    let contract = contract();
    let mut faults = Vec::new();
    for package in contract.packages.iter().filter(|package| !package.name.starts_with("jkn.feed.")) {
        let files = proto::pool()
            .files()
            .filter(|file| file.package_name() == package.name && file.name().ends_with("/events.proto"));
        for message in files.flat_map(|file| file.messages().collect::<Vec<_>>()) {
            for field in message.fields().filter(|field| FORBIDDEN.contains(&field.name())) {
                faults.push(field.full_name().to_owned());
            }
        }
    }
    none(&faults);
}
