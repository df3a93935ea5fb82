//! A broken or wicked client: it learns of every wrong field, changes nothing, and breaks nothing.
#![allow(clippy::unwrap_used, reason = "a test that meets the unexpected should stop there")]

use chassis::{contract, identity::kind_name};
use integration_tests::{
    Mesh,
    calls::{AMPLE, call_any, methods, reason, wrong_fields},
    hostile,
};
use prost_reflect::{Kind, MessageDescriptor};
use proto::options::v1::InstitutionKind;
use tonic::Code;

/// An identity of the kind that could exist.
fn identity(kind: InstitutionKind) -> String {
    let id = match kind {
        InstitutionKind::Fktp => "3171U001",
        InstitutionKind::Hospital => "3171R001",
        _ => "one",
    };
    format!("{}:{id}", kind_name(kind))
}

/// Whether a request has a field in which a text can be wrong.
fn takes_text(request: &MessageDescriptor) -> bool {
    request.fields().any(|field| matches!(field.kind(), Kind::String | Kind::Enum(_) | Kind::Message(_)))
}

#[tokio::test(flavor = "multi_thread")]
async fn hostile_input_on_every_method_names_the_wrong_fields_and_writes_nothing() {
    let mesh = Mesh::start().await.unwrap();
    let mut before = Vec::new();
    for service in Mesh::services() {
        before.push(mesh.rows(service).await.unwrap());
    }
    let mut faults = Vec::new();
    for method in methods().unwrap() {
        let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
        let policy = contract::method(&path).unwrap();
        let Some(kind) = policy.callers.iter().copied().find(|kind| *kind != InstitutionKind::Service) else {
            continue;
        };
        let caller = identity(kind);
        for hostile in hostile::messages(&method.input()) {
            let what = format!("{path}, {}", hostile.kind);
            match call_any(mesh.channel(&caller).unwrap(), &method, hostile.message, AMPLE).await {
                // Per-row results of a client stream, or a list without a filter.
                Ok(_) if policy.client_streaming || (!policy.writes && hostile.kind == "empty") => {}
                Ok(_) if !policy.writes && hostile.kind == "huge lists" => {}
                // A read that takes nothing, or only a number that could be.
                Ok(_) if !policy.writes && !takes_text(&method.input()) => {}
                Ok(_) => faults.push(format!("{what}: accepted")),
                Err(status) => match status.code() {
                    Code::InvalidArgument if wrong_fields(&status).is_empty() => {
                        faults.push(format!("{what}: names no field: {}", status.message()))
                    }
                    Code::InvalidArgument => {
                        if policy.writes
                            && hostile.kind == "empty"
                            && !policy.client_streaming
                            && !wrong_fields(&status).iter().any(|field| field == "request_id")
                        {
                            faults.push(format!(
                                "{what}: does not name request_id but {:?}",
                                wrong_fields(&status)
                            ));
                        }
                        if status.message().contains("xxxxxxxxxx") || status.message().contains("drop table")
                        {
                            faults.push(format!("{what}: repeats what was sent"));
                        }
                    }
                    // A number or date that could be, of something that is not.
                    Code::NotFound | Code::FailedPrecondition | Code::PermissionDenied
                        if !reason(&status).is_empty() => {}
                    Code::OutOfRange | Code::ResourceExhausted if hostile.kind == "huge lists" => {}
                    code => faults.push(format!("{what}: {code:?} {}", status.message())),
                },
            }
        }
    }
    for (service, before) in Mesh::services().into_iter().zip(before) {
        let after = mesh.rows(service).await.unwrap();
        if after != before {
            faults.push(format!("{service} wrote: {before:?} is now {after:?}"));
        }
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
    let panics: Vec<_> =
        mesh.logs().lines().filter(|line| line.contains("panicked")).map(str::to_owned).collect();
    assert!(panics.is_empty(), "{panics:#?}");
}
