//! `onrush healthcheck`.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Args;

use super::Target;

/// How long the instance may take to answer.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Ask a running instance for its heartbeat.
#[derive(Args)]
pub struct Healthcheck {
    #[command(flatten)]
    target: Target,
}

impl Healthcheck {
    /// Asks `/health` of the listening address; an instance that listens everywhere is asked on loopback.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let url = self.target.url()?.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:");
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let socket = address.to_socket_addrs()?.next().context("the address has no socket")?;
        let mut stream = TcpStream::connect_timeout(&socket, TIMEOUT)?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        match answer.split(' ').nth(1) {
            Some("200") => Ok(ExitCode::SUCCESS),
            status => bail!("the instance answers {}", status.unwrap_or("nothing")),
        }
    }
}
