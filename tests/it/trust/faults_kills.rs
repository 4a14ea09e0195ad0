//! What was acknowledged is not lost when the service, its PostgreSQL or both are killed, and
//! is there once.

use std::process::Command;

use super::faults_log::{Load, Site, set_up};
use super::scale;
use crate::load::Client;
use crate::process::{Program, User, runs, signal};
use crate::support::eventually;

/// What is killed.
#[derive(Clone, Copy, Debug)]
enum Victim {
    Service,
    Postmaster,
    /// Every process of the server at once.
    Server,
    Both,
}

const VICTIMS: [Victim; 4] = [Victim::Service, Victim::Postmaster, Victim::Both, Victim::Server];

/// A process and those that it started.
pub fn family(parent: u32) -> Vec<u32> {
    let listed = Command::new("ps").args(["-o", "pid=", "--ppid", &parent.to_string()]).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let children = listed.split_whitespace().map(|pid| pid.parse().unwrap());
    std::iter::once(parent).chain(children).collect()
}

/// Kills processes, some of which may have ended by then.
fn kill(processes: &[u32]) {
    let processes = processes.iter().map(u32::to_string);
    Command::new("kill").arg("-KILL").args(processes).output().unwrap();
}

/// Kills one of them under load, and sees that somebody noticed. Answers the service that is
/// there afterwards.
async fn strike(victim: Victim, site: &Site, program: Program, load: &Load) -> Program {
    let postmaster = site.dir.postmaster().unwrap();
    match victim {
        Victim::Service => {
            program.kill().await;
            assert!(runs(postmaster), "the server outlives the service, or the next start shows nothing");
        }
        Victim::Postmaster | Victim::Server => {
            match victim {
                Victim::Server => kill(&family(postmaster)),
                _ => signal("KILL", postmaster),
            }
            let is_another = |pid| pid != postmaster;
            eventually("another server", async || site.dir.postmaster().is_some_and(is_another)).await;
            load.goes_on().await;
            let (unavailable, broken) = load.take_trouble();
            assert!(unavailable["database-unavailable"] > 0, "nobody noticed");
            assert_eq!(broken, 0, "the service itself was there all the time");
            return program;
        }
        Victim::Both => {
            signal("KILL", program.pid);
            kill(&family(postmaster));
            program.end().await;
            assert_eq!(site.dir.postmaster(), Some(postmaster), "its file is left, and names nobody");
        }
    }
    let program = site.serve().await;
    assert!(!runs(postmaster), "one server at a time");
    load.moved_to(&program);
    load.goes_on().await;
    let (_, broken) = load.take_trouble();
    assert!(broken > 0, "nobody noticed");
    program
}

async fn survives(site: Site, kills: u64) {
    let mut program = site.serve().await;
    set_up(&program.base).await;
    let load = Load::start(&program.base);
    for victim in VICTIMS.into_iter().cycle().take(kills as usize) {
        load.goes_on().await;
        program = strike(victim, &site, program, &load).await;
    }
    let (events, figures) = load.audit(&Client::new(&program.base), &site.database()).await;
    // Not in order, so that the last start is that of verify.
    signal("KILL", program.pid);
    signal("KILL", site.dir.postmaster().unwrap());
    program.end().await;
    site.verify(events).await;
    println!("kills: {kills} of the service, of PostgreSQL, of both; {figures}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_of_the_service_and_of_its_server() {
    survives(Site::new(None), scale(4, 100)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_kills_of_an_ordinary_users_service() {
    match User::other_than_root() {
        Some(nobody) => survives(Site::new(Some(nobody)), 3).await,
        None => eprintln!("not needed: all other tests are an ordinary user's"),
    }
}
