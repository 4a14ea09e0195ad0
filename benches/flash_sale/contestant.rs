//! A contestant: a process that serves the API, or a part of it, on a port of its own.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// The build that is measured.
pub const OURS: &str = env!("CARGO_BIN_EXE_ringfence");

/// Which program.
pub enum Kind<'a> {
    /// The real one, with no flag that tunes it; `name` tells its builds apart.
    Ringfence { name: &'a str, program: &'a Path, database_url: &'a str },
    /// The same with authentication, limits that nobody meets, and traces as they are by default, which
    /// a collector takes; over a role that only serves, whom the database's own rules hold for.
    Guarded { database_url: &'a str, collector: SocketAddr },
    /// A transaction per request.
    Twin { database_url: &'a str, connections: u32 },
    /// The same server over one route that answers what it was sent.
    Echo,
}

/// A key for the environment of the sale.
pub fn key(database_url: &str) -> String {
    let mut command = Command::new(OURS);
    command.args(["key", "create", "--environment", "sale", "--role", "consumer", "--name", "bench"]);
    let output = command.args(["--database-url", database_url]).output().expect("a process");
    String::from_utf8(output.stdout).expect("a key").trim().to_owned()
}

/// Lets a role serve.
pub fn let_serve(database_url: &str, role: &str) {
    let mut command = Command::new(OURS);
    command.args(["migrate", "--database-url", database_url, "--service-role", role]);
    assert!(command.status().expect("a process").success(), "the role {role} is not let to serve");
}

pub struct Contestant {
    pub name: String,
    pub address: SocketAddr,
    process: Child,
}

impl Contestant {
    /// Starts it and waits until it listens.
    pub fn start(kind: &Kind<'_>) -> Contestant {
        let this_program = || Command::new(std::env::current_exe().expect("this program"));
        let (name, mut command) = match kind {
            Kind::Ringfence { name, program, database_url } => {
                let mut command = Command::new(program);
                command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", database_url]);
                ((*name).to_owned(), command)
            }
            Kind::Guarded { database_url, collector } => {
                let mut command = Command::new(OURS);
                command.args(["serve", "--listen", "127.0.0.1:0", "--database-url", database_url, "--auth"]);
                command.args(["--otlp-endpoint", &format!("http://{collector}")]);
                for limit in ["key-requests", "key-commands", "environment-requests", "environment-commands"]
                {
                    command.args([&format!("--{limit}-per-second"), "1000000"]);
                }
                ("guarded".to_owned(), command)
            }
            Kind::Twin { database_url, connections } => {
                let mut command = this_program();
                command.args(["twin", database_url, &connections.to_string()]);
                (format!("twin, pool of {connections}"), command)
            }
            Kind::Echo => {
                let mut command = this_program();
                command.arg("echo");
                ("echo".to_owned(), command)
            }
        };
        // Default settings, whatever the environment says.
        for (variable, _) in std::env::vars_os() {
            if variable.to_string_lossy().starts_with("RINGFENCE_") || variable == "DATABASE_URL" {
                command.env_remove(variable);
            }
        }
        // What is logged is made, as it is in earnest, and thrown away.
        command.stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().expect("a process");
        let mut line = String::new();
        let output = process.stdout.take().expect("a pipe");
        BufReader::new(output).read_line(&mut line).expect("its first line");
        let address = line.trim().strip_prefix("listening on http://").expect("its address");
        Contestant { name, address: address.parse().expect("an address"), process }
    }

    /// The memory that the process has resident now.
    pub fn resident_mib(&self) -> f64 {
        self.memory_mib("VmRSS:")
    }

    /// The most memory that the process ever had resident.
    pub fn resident_high_mib(&self) -> f64 {
        self.memory_mib("VmHWM:")
    }

    fn memory_mib(&self, field: &str) -> f64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix(field)).expect("a figure");
        let kib: f64 = line.trim().trim_end_matches(" kB").parse().expect("a number");
        kib / 1024.0
    }
}

impl Drop for Contestant {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
