//! `jkn serve NAME`: one service, or the gateway, as its own process.

use std::process::ExitCode;

use chassis::{host::Ports, telemetry};
use clap::Args;

use crate::{Place, processes::Process, runtime, stop};

/// The name under which the stand-in for the civil registry runs.
pub(crate) const CIVIL_REGISTRY: &str = "civil-registry";

/// Arguments of `jkn serve`.
#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// membership, primary-care, referral, accreditation, claims, sismonev or gateway; civil-registry for the
    /// development stand-in of the civil registry.
    name: String,
    /// Run without certificates, on a loopback address only: peers name themselves and are believed.
    #[arg(long)]
    insecure_loopback: bool,
    /// Create or update the tables first.
    #[arg(long)]
    migrate: bool,
    /// Address of the civil-registry stand-in.
    #[arg(long, default_value = "127.0.0.1:0", value_name = "IP:PORT")]
    civil_registry_listen: std::net::SocketAddr,
}

impl Serve {
    pub(crate) fn run(self, place: &Place) -> anyhow::Result<ExitCode> {
        let main = runtime()?;
        let _entered = main.enter();
        if self.name == CIVIL_REGISTRY {
            let _telemetry = telemetry::start(CIVIL_REGISTRY, place.log_format(), &place.log)?;
            let stop = stop::on_signal()?;
            main.block_on(async {
                let listener = tokio::net::TcpListener::bind(self.civil_registry_listen).await?;
                println!("{CIVIL_REGISTRY} listening on {}", listener.local_addr()?);
                civil_registry::serve(listener, civil_registry::Residents::default(), stop).await
            })?;
            return Ok(ExitCode::SUCCESS);
        }
        let process = Process::named(&self.name)?;
        let mut layers = place.layers();
        if self.insecure_loopback {
            layers.computed.insert("insecure-loopback".to_owned(), "true".to_owned());
        }
        let settings = process.settings(&layers)?;
        let ports = Ports::bind(settings.listen, settings.admin_listen)?;
        let telemetry = telemetry::start(process.name, place.log_format(), &place.log)?;
        telemetry::hide_panic_messages();
        let stop = stop::on_signal()?;
        let addresses = ports.addresses()?;
        println!("{} listening on {}, admin {}", process.name, addresses.grpc, addresses.admin);
        if self.migrate {
            main.block_on(crate::operate::migrate(process, &layers))?;
        }
        process.run(&layers, ports, telemetry.clone(), stop)?;
        telemetry.flush();
        Ok(ExitCode::SUCCESS)
    }
}
