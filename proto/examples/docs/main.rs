//! Writes the documentation of the contracts: `docs/api.md`, a page for each reason in `docs/errors/`, and their index.
//!
//! ```text
//! cargo run --example docs -- docs          # write it
//! cargo run --example docs -- docs --check  # fail when it is not what the contracts say, naming the files
//! ```

#![allow(clippy::print_stdout, reason = "a tool that talks to a person")]

mod api;
mod contract;
mod errors;

use std::{
    collections::BTreeMap,
    env,
    error::Error,
    fs,
    path::{Path, PathBuf},
};

use contract::Contract;

fn main() -> Result<(), Box<dyn Error>> {
    let mut check = false;
    let mut folder = None;
    for argument in env::args().skip(1) {
        match argument.as_str() {
            "--check" => check = true,
            "--help" | "-h" => {
                println!("usage: docs FOLDER [--check]");
                return Ok(());
            }
            option if option.starts_with('-') => return Err(format!("unknown option {option}").into()),
            given => folder = Some(PathBuf::from(given)),
        }
    }
    let folder = folder.ok_or("usage: docs FOLDER [--check]")?;
    let contract = Contract::read(proto::pool());
    let faults = contract.faults();
    if !faults.is_empty() {
        return Err(format!("the contracts cannot be documented:\n  {}", faults.join("\n  ")).into());
    }
    let mut pages = BTreeMap::from([(PathBuf::from("api.md"), api::page(&contract))]);
    pages.extend(errors::pages(&contract));

    let stale = stale(&folder, &pages)?;
    if check {
        let differing: Vec<_> = pages
            .iter()
            .filter(|(name, text)| fs::read_to_string(folder.join(name)).ok().as_ref() != Some(*text))
            .map(|(name, _)| name)
            .chain(&stale)
            .map(|name| folder.join(name).display().to_string())
            .collect();
        if differing.is_empty() {
            println!("{} pages are what the contracts say", pages.len());
            return Ok(());
        }
        let differing = differing.join("\n  ");
        return Err(
            format!("not what the contracts say (cargo run --example docs -- docs):\n  {differing}").into()
        );
    }
    fs::create_dir_all(folder.join("errors"))?;
    for (name, text) in &pages {
        fs::write(folder.join(name), text)?;
    }
    for name in &stale {
        fs::remove_file(folder.join(name))?;
    }
    println!("{} pages written, {} removed", pages.len(), stale.len());
    Ok(())
}

/// Pages of reasons that exist no more.
fn stale(folder: &Path, pages: &BTreeMap<PathBuf, String>) -> Result<Vec<PathBuf>, Box<dyn Error>> {
    let errors = folder.join("errors");
    if !errors.exists() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(errors)? {
        let name = Path::new("errors").join(entry?.file_name());
        if name.extension().is_some_and(|extension| extension == "md") && !pages.contains_key(&name) {
            found.push(name);
        }
    }
    found.sort();
    Ok(found)
}
