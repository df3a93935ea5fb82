//! `jkn audit redraw`: derives the sample of an audit again from what was published, without asking anybody.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Write as _},
    path::{Path, PathBuf},
    process::ExitCode,
};

use anyhow::{Context, bail, ensure};
use chassis::policy;
use claims::{
    audit::Rules,
    draw::{Draw, allocate, list},
    frame::{Frame, Header, Reading, sha256},
};
use clap::{Args, Subcommand};

/// Arguments of `jkn audit`.
#[derive(Debug, Args)]
pub(crate) struct Audit {
    #[command(subcommand)]
    tool: Tool,
}

#[derive(Debug, Subcommand)]
enum Tool {
    /// Derive the sample of an audit again from the published frame and seed, and print it.
    Redraw(Redraw),
}

#[derive(Debug, Args)]
struct Redraw {
    /// The file of the frame, as ExportFrame gives it.
    #[arg(long, value_name = "FILE")]
    frame: PathBuf,
    /// The seed: the value of its source, lower-case hexadecimal, as it was published.
    #[arg(long, value_name = "HEX")]
    seed: String,
    /// The hash that was published with the frame; another file is refused.
    #[arg(long, value_name = "SHA256")]
    hash: Option<String>,
    /// Also check the size of the sample and the minimum of a stratum against this copy of policy/claims/audit.toml.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
}

impl Audit {
    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        let Tool::Redraw(redraw) = self.tool;
        redraw.run()
    }
}

impl Redraw {
    fn run(&self) -> anyhow::Result<ExitCode> {
        let is_hex = self.seed.bytes().all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
        ensure!(is_hex && !self.seed.is_empty(), "--seed must be lower-case hexadecimal digits");
        let frame = self.read(|_, _| ())?;
        if let Some(expected) = self.hash.as_ref().filter(|expected| **expected != frame.hash) {
            eprintln!("jkn: this is not the published frame: its hash is {}, not {expected}", frame.hash);
            return Ok(ExitCode::FAILURE);
        }
        if let Some(path) = &self.policy {
            agrees(&frame.header, path)?;
        }
        let places = allocate(&frame.sizes, frame.header.size, frame.header.minimum);
        let mut draw = Draw::begin(&self.seed, frame.sizes.clone(), &places);
        let again = self.read(|stratum, key| draw.offer(stratum, key))?;
        ensure!(again == frame, "{} changed while it was read", self.frame.display());
        let text = list(&frame.hash, &self.seed, &draw.finish());
        // Standard output is the list and nothing else: it has the published hash.
        match std::io::stdout().write_all(text.as_bytes()) {
            Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => return Err(error.into()),
            _ => eprintln!("jkn: frame {}, sample {}", frame.hash, sha256(&text)),
        }
        Ok(ExitCode::SUCCESS)
    }

    /// Reads the file line by line, however long it is, and shows each row, stratum first.
    fn read(&self, mut each: impl FnMut(&str, &str)) -> anyhow::Result<Frame> {
        let name = self.frame.display();
        let mut file = BufReader::new(File::open(&self.frame).with_context(|| format!("opening {name}"))?);
        let mut reading = Reading::begin();
        let mut line = String::new();
        while file.read_line(&mut line).with_context(|| format!("reading {name}"))? > 0 {
            if let Some((key, stratum)) =
                reading.take(&line).with_context(|| format!("{name} is no frame"))?
            {
                each(stratum, key);
            }
            line.clear();
        }
        reading.finish().with_context(|| format!("{name} is no frame"))
    }
}

/// Refuses a frame whose figures are not those of the version of the policy that it names.
fn agrees(header: &Header, path: &Path) -> anyhow::Result<()> {
    let text = fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    let policy = policy::parse::<Rules>("claims/audit.toml", &text)?;
    let version = policy.versions().iter().find(|version| version.effective_from == header.policy);
    let Some(version) = version else {
        bail!("{} has no version of {}, which the frame names", path.display(), header.policy);
    };
    let (size, minimum) = version.sample(header.kind);
    ensure!(
        (size, minimum) == (header.size, header.minimum),
        "the frame says size {} and minimum {}, the policy {size} and {minimum}",
        header.size,
        header.minimum
    );
    Ok(())
}
