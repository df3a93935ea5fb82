//! Stops the cluster that a test run left running. `make test` calls it at the end.

#[tokio::main(flavor = "current_thread")]
async fn main() -> anyhow::Result<()> {
    embedded::testing::stop().await
}
