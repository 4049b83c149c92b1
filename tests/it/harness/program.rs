//! The real program as a child, for what only a process can show: signals, crashes, exit codes.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Output, Stdio};
use std::thread::JoinHandle;

use super::{TestApp, secrets};

/// A running `onrush`.
pub struct Program {
    child: Child,
    log: Option<JoinHandle<()>>,
}

impl Program {
    /// The program with these arguments, not started.
    pub fn command(args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_onrush"));
        command.args(args);
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("ONRUSH_")) {
            command.env_remove(name);
        }
        command
    }

    /// Starts it; standard error is where the command says.
    pub fn spawn(mut command: Command) -> Self {
        Self { child: command.stdout(Stdio::null()).spawn().expect("the program starts"), log: None }
    }

    /// Runs to the end.
    pub fn output(args: &[&str]) -> Output {
        Self::command(args).output().expect("the program runs")
    }

    /// `onrush serve` on a test's data, on this port.
    pub fn serve(app: &TestApp, port: u16) -> Self {
        let mut command = Self::command(&["serve"]);
        settings(&mut command, app).env("ONRUSH_LISTEN", format!("127.0.0.1:{port}"));
        command.stderr(Stdio::piped());
        let mut program = Self::spawn(command);
        program.log = program.child.stderr.take().map(secrets::listen_to);
        program
    }

    /// Starts and waits for a line of standard output that begins so; gives it back.
    pub fn until(mut command: Command, begins: &str) -> (Self, String) {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the program starts");
        let log = child.stderr.take().map(secrets::listen_to);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let found = lines.by_ref().map_while(Result::ok).find(|line| line.starts_with(begins));
        // What follows is read and dropped, so that the program never waits for us.
        std::thread::spawn(move || lines.for_each(drop));
        (Self { child, log }, found.unwrap_or_else(|| panic!("the program ended without {begins:?}")))
    }

    /// Starts it; what it prints is there to be read, and waits until somebody does.
    pub fn unread(mut command: Command) -> (Self, impl Iterator<Item = String> + Send) {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the program starts");
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        (Self { child, log: None }, lines.map_while(Result::ok))
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is gone.
    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// SIGKILL: no way out is taken.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and the exit code.
    pub fn terminate(self) -> Option<i32> {
        self.ended_by("TERM")
    }

    /// Ctrl-C, and the exit code.
    pub fn interrupt(self) -> Option<i32> {
        self.ended_by("INT")
    }

    fn ended_by(mut self, signal: &str) -> Option<i32> {
        onrush::servers::signal(self.child.id(), signal);
        let code = self.child.wait().unwrap().code();
        self.log.take().into_iter().for_each(|log| log.join().unwrap());
        secrets::assert_none_logged();
        code
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // A test that failed half-way leaves no process behind.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a command on a test's data: whether it succeeded, and all that it said.
pub fn onrush(app: &TestApp, args: &[&str]) -> (bool, String) {
    let mut command = Program::command(args);
    let told = settings(&mut command, app).output().unwrap();
    (told.status.success(), String::from_utf8_lossy(&[told.stdout, told.stderr].concat()).into_owned())
}

/// The settings of a test's application as variables.
pub fn settings<'a>(command: &'a mut Command, app: &TestApp) -> &'a mut Command {
    use secrecy::ExposeSecret;
    command
        .env("ONRUSH_REDIS_URL", &app.config.redis_url)
        .env("ONRUSH_DATABASE_URL", &app.config.database_url)
        .env("ONRUSH_JWT_SECRET", app.config.secret.expose_secret())
        .env("ONRUSH_PREFIX", &*app.config.prefix)
        .env("ONRUSH_LIMITS", "off")
        .env("ONRUSH_DATABASE_CONNECTIONS", "8")
        .envs(app.delivery.iter().map(|file| ("ONRUSH_DELIVERY", file)))
}
