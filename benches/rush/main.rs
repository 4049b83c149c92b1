//! `rush`: loads an Onrush from the machine that it runs on, and the baseline that its figures stand beside.
//!
//! It is made for machines where the load, the service, Redis and Postgres share few cores: what a request
//! costs the generator is taken from what is measured. So requests are bytes that are written by hand onto
//! connections that stay open, one thread serves all connections, and of an answer only its status, its
//! length and the few fields that a flow needs are looked at. Of the crate only the text of scripts is used:
//! it is a client as any other. Each load prints one line of JSON, with what the generator itself spent.
//!
//! Cargo runs benches with `--bench`, or with `--test`, and others list them with `--list`: none is a load.

mod client;
mod connection;
mod flow;
mod histogram;
mod join_all;
mod lines;
mod load;
mod mixed;
mod pace;
mod postgres_only;
mod prepare;
mod purchase;
mod requests;
mod stats;
mod work;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

// As the service has it, so that the baseline is not slower for its allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Load an Onrush, or the baseline, and print what came of it.
#[derive(Parser)]
#[command(name = "rush")]
struct Rush {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Load(Box<load::Load>),
    JoinAll(join_all::JoinAll),
    PostgresOnly(postgres_only::PostgresOnly),
    /// Print what Redis is sent of a script, for redis-benchmark.
    Script {
        /// `feature/verb`.
        name: String,
    },
}

fn main() -> ExitCode {
    let given: Vec<OsString> = std::env::args_os().collect();
    if given.iter().any(|arg| arg == "--list") {
        return ExitCode::SUCCESS;
    }
    let args: Vec<OsString> = given.into_iter().filter(|arg| arg != "--bench" && arg != "--test").collect();
    if args.len() < 2 {
        println!("{}", Rush::command().render_help());
        return ExitCode::SUCCESS;
    }
    let done = match Rush::parse_from(args).command {
        Command::Load(load) => load.run(),
        Command::JoinAll(join_all) => join_all.run(),
        Command::PostgresOnly(postgres_only) => postgres_only.run(),
        Command::Script { name } => {
            print!("{}", onrush::bench::script_text(&name));
            Ok(())
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("rush: {error:#}");
            ExitCode::FAILURE
        }
    }
}
