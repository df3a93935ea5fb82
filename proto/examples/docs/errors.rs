//! A page for each reason, and their index.

use std::{collections::BTreeMap, fmt::Write, path::PathBuf};

use crate::contract::{Contract, Method, Package, Reason};

/// Reasons that any method may fail with, whether or not its comment names them.
pub(crate) const OF_ANY_METHOD: [&str; 7] = [
    "IDENTITY_MISSING",
    "CALLER_NOT_ALLOWED",
    "DEADLINE_PASSED",
    "OVERLOADED",
    "TEMPORARILY_UNAVAILABLE",
    "INTERNAL",
    "METHOD_UNKNOWN",
];

/// Every page, by its name below the folder of the documentation.
pub(crate) fn pages(contract: &Contract) -> BTreeMap<PathBuf, String> {
    let mut by_name: BTreeMap<&str, Vec<(&Package, &Reason)>> = BTreeMap::new();
    for (package, reason) in contract.reasons() {
        by_name.entry(&reason.name).or_default().push((package, reason));
    }
    let mut pages: BTreeMap<PathBuf, String> = by_name
        .iter()
        .map(|(name, meanings)| (PathBuf::from(format!("errors/{name}.md")), page(contract, name, meanings)))
        .collect();
    pages.insert(PathBuf::from("errors/README.md"), index(&by_name));
    pages
}

fn page(contract: &Contract, name: &str, meanings: &[(&Package, &Reason)]) -> String {
    let mut page = format!("# {name}\n");
    for (package, reason) in meanings {
        let next = reason.next.as_deref().map(capitalised).unwrap_or_default();
        let _infallible = write!(
            page,
            "\nOf `{}`.\n\n**What happened.** {}\n\n**What to do next.** {next}\n",
            package.name, reason.happened,
        );
    }
    let failing: Vec<&Method> =
        contract.methods().filter(|method| method.reasons.iter().any(|reason| reason == name)).collect();
    let any = OF_ANY_METHOD.contains(&name);
    if any {
        page.push_str("\nAny method may fail with it.\n");
    }
    if !failing.is_empty() {
        let lead = if any { "These methods name it:" } else { "These methods fail with it:" };
        let _infallible = write!(page, "\n{lead}\n\n");
        for method in failing {
            let _infallible = writeln!(page, "- [{0}](../api.md#{0})", method.full_name);
        }
    } else if !any {
        page.push_str("\nNo method names it at present.\n");
    }
    page.push_str("\n[All reasons](README.md)\n");
    page
}

fn index(by_name: &BTreeMap<&str, Vec<(&Package, &Reason)>>) -> String {
    let mut page = String::from(
        "# Reasons\n\n\
         Why a call fails. The reason is in `google.rpc.ErrorInfo` of the status, with the domain `jkn`; every wrong \
         field is in `google.rpc.BadRequest`, and when to come again in `google.rpc.RetryInfo`. A reason never \
         changes its meaning.\n\n\
         Generated from the contracts by `cargo run --example docs -- docs`.\n\n\
         | reason | of | what happened |\n|---|---|---|\n",
    );
    for (name, meanings) in by_name {
        for (package, reason) in meanings {
            let happened = crate::api::cell(&reason.happened);
            let _infallible = writeln!(page, "| [{name}]({name}.md) | `{}` | {happened} |", package.name);
        }
    }
    page
}

fn capitalised(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
