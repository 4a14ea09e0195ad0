//! The real program, over a database that exists.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use sqlx::ConnectOptions;
use sqlx::postgres::PgConnectOptions;

pub struct Service {
    pub address: SocketAddr,
    /// From its start to the line that it listens.
    pub listened_after: Duration,
    pub began: Instant,
    pub process: Child,
}

impl Service {
    pub fn start(database: &PgConnectOptions, arguments: &[&str]) -> Service {
        let began = Instant::now();
        let url = database.to_url_lossy().to_string();
        let mut process = Command::new(env!("CARGO_BIN_EXE_ringfence"))
            .args(["serve", "--listen", "127.0.0.1:0", "--database-url", &url])
            .args(arguments)
            .env("RINGFENCE_LOG", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .expect("a process");
        let mut line = String::new();
        let output = process.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("its first line");
        let listened_after = began.elapsed();
        let address = line.trim().strip_prefix("listening on http://").expect("its address");
        Service { address: address.parse().expect("an address"), listened_after, began, process }
    }

    /// The most memory that the process ever had resident.
    pub fn resident_high_mib(&self) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a figure");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib / 1024.0
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
