//! The command line. The only place that knows clap; what it yields is free of clap's types.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{
    ArgAction, Args, CommandFactory, Parser, Subcommand, ValueEnum,
    builder::{PossibleValuesParser, TypedValueParser},
};
use pdsdoctor_probes::{fact::ProbeName, identifier::may_show};
use strum::IntoEnumIterator;

pub use crate::render::Format;
use crate::{
    config::{self, EGRESS_HOSTS_VAR},
    diagnose::FailOn,
    egress::{self, EGRESS_HOSTS, EgressHost},
    exit,
    options::{CheckOptions, DEFAULT_CLIENT_ID, DEFAULT_TIMEOUT, HostProbes, REFERENCES, Resolve},
    parse,
    render::{
        self,
        style::{ColorWish, Detail},
        wrap::clean,
    },
};

/// Finds out why a self-hosted AT Protocol PDS does not work, proves it, and prints the fix
#[derive(Debug, Parser)]
#[command(name = "pdsdoctor", version, max_term_width = 80, subcommand_required = true)]
#[command(arg_required_else_help = true, disable_help_subcommand = true, after_help = after_help())]
// One help text, the compact one, for -h and --help alike.
#[command(disable_help_flag = true, disable_version_flag = true)]
pub struct Cli {
    /// Print help
    #[arg(short, long, global = true, action = ArgAction::HelpShort, help_heading = "Help")]
    help: (),
    /// Print version
    #[arg(short = 'V', long, action = ArgAction::Version, help_heading = "Help")]
    version: (),
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the command line. `Err` is also what `--help` and `--version` give.
    pub fn read() -> Result<Self, clap::Error> {
        Self::try_parse()
    }
}

/// Says what is wrong with the command line, on standard error. clap repeats what was typed as it stands, and that may have
/// been pasted from anywhere: where a terminal would obey some of it, it is cleaned, and colours go with it; and what may
/// hold a user name, a password or a token is not repeated.
pub fn complain(error: &clap::Error) {
    let hostile = |text: &str| text.lines().any(|line| clean(line, true) != line.trim_end());
    let typed = std::env::args_os().any(|word| hostile(&word.to_string_lossy()) || word.to_str().is_none());
    let mut plain = error.render().to_string();
    let args = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let words: Vec<String> = args.filter(|word| !may_show(word)).collect();
    // With the value of an option, which is repeated without its name.
    let values = words.iter().filter_map(|word| word.split_once('=')).map(|(_, value)| value);
    for word in words.iter().map(String::as_str).chain(values).filter(|word| !word.is_empty()) {
        plain = plain.replace(word, "(not repeated here)");
    }
    if !typed && words.is_empty() && !hostile(&plain) {
        // If standard error is closed, there is nobody left to tell.
        let _ = error.print();
        return;
    }
    let lines: Vec<String> = plain.lines().map(|line| clean(line, true)).collect();
    render::complain(&lines.join("\n"));
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Diagnose a PDS: measure from here, and inside where it runs; compare with a known-good PDS; judge
    #[command(after_help = check_after_help())]
    Check(Box<Check>),
    /// Judge a saved run again; needs no network
    Replay(Replay),
    /// What a cause means, how it is proven, how it is fixed
    Explain(Explain),
    /// List the probes, or the causes that can be found
    List(List),
    /// Print completions for a shell
    Completions(Completions),
    /// Print the manual page (roff)
    Man,
}

/// Arguments of `check`.
#[derive(Debug, Args)]
pub struct Check {
    /// Host name, https:// URL, handle (alice.example, @alice.example) or DID;
    /// without it: the PDS on this machine, or this machine as the host of one
    pub target: Option<String>,
    /// Compare with this known-good PDS [default: see below]
    #[arg(long, value_name = "HOST", conflicts_with = "no_reference", help_heading = TARGET)]
    against: Option<String>,
    /// Compare with no PDS; few causes can then be confirmed
    #[arg(long, help_heading = TARGET)]
    no_reference: bool,
    /// Client metadata document to log in with; repeatable, replaces the default
    #[arg(long, value_name = "URL", help_heading = TARGET)]
    client_id: Vec<String>,
    /// Let the PDS fetch from this host, to see its way out; repeatable. FAMILY:
    /// ipv4, ipv6, near, far [default: see below, where a login fails]
    #[arg(long, value_name = "FAMILY=URL", help_heading = TARGET)]
    egress_host: Vec<String>,
    /// Contact only the target and what is named here
    #[arg(long, help_heading = TARGET)]
    no_third_party: bool,
    /// Run only these probes (see `list probes`)
    #[arg(long, value_name = "PROBE,...", value_delimiter = ',', help_heading = PROBES)]
    #[arg(value_parser = probe_parser(), hide_possible_values = true)]
    only: Vec<ProbeName>,
    /// Leave out these probes
    #[arg(long, value_name = "PROBE,...", value_delimiter = ',', help_heading = PROBES)]
    #[arg(value_parser = probe_parser(), hide_possible_values = true)]
    skip: Vec<ProbeName>,
    /// Time limit of the whole run
    #[arg(long, value_name = "SECS", default_value_t = DEFAULT_TIMEOUT.as_secs(), help_heading = PROBES)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=600))]
    timeout: u64,
    /// Look at this machine as the PDS's own: auto (if it is), always, never
    #[arg(long, value_name = "WHEN", default_value = "auto", help_heading = HOST)]
    #[arg(value_parser = host_probes_parser(), hide_possible_values = true)]
    host_probes: HostProbes,
    /// The PDS is in this container, on this machine
    #[arg(long, value_name = "NAME|ID", conflicts_with = "pid", help_heading = HOST)]
    container: Option<String>,
    /// This process is the PDS
    #[arg(long, value_name = "PID", help_heading = HOST)]
    pid: Option<u32>,
    /// The PDS's file of settings, compared with what its process has [default: /pds/pds.env]
    #[arg(long, value_name = "FILE", help_heading = HOST)]
    env_file: Option<PathBuf>,
    /// Read the PDS's log too (JSON lines; its end): the errors that its answers leave out
    #[arg(long, value_name = "FILE", help_heading = HOST)]
    log: Option<PathBuf>,
    /// Also run the PDS's own Node program in the PDS's place, for one fetch of the app's metadata
    /// as it is and one with each remedy; with no more rights than the PDS's, nothing is changed
    #[arg(long, help_heading = HOST)]
    with_node: bool,
    /// Use only IPv4
    #[arg(short = '4', conflicts_with = "only_v6", help_heading = NETWORK)]
    only_v4: bool,
    /// Use only IPv6
    #[arg(short = '6', help_heading = NETWORK)]
    only_v6: bool,
    /// Use these addresses (ADDR[,ADDR]) for a host, as curl does
    #[arg(long, value_name = "HOST:PORT:ADDR", value_parser = parse::resolve, help_heading = NETWORK)]
    resolve: Vec<Resolve>,
    /// Ask this name server instead of the configured ones; repeatable
    #[arg(long, value_name = "ADDR[:PORT]", value_parser = parse::nameserver, help_heading = NETWORK)]
    nameserver: Vec<SocketAddr>,
    /// Trust these certificates too (PEM); repeatable
    #[arg(long, value_name = "FILE", help_heading = NETWORK)]
    pub ca_cert: Vec<PathBuf>,
    /// Write the measurements here, for `replay`
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub save: Option<PathBuf>,
    /// How to show the result.
    #[command(flatten)]
    pub show: Show,
}

/// Arguments of `replay`.
#[derive(Debug, Args)]
pub struct Replay {
    /// A file written by `check --save`; - reads standard input
    pub file: PathBuf,
    /// How to show the result.
    #[command(flatten)]
    pub show: Show,
}

/// Arguments of `explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// A cause, such as oauth-client-metadata-egress (see `list causes`)
    pub code: String,
    /// When to colour.
    #[command(flatten)]
    pub color: Color,
}

/// Arguments of `list`.
#[derive(Debug, Args)]
pub struct List {
    /// What to list
    pub what: ListWhat,
    /// When to colour.
    #[command(flatten)]
    pub color: Color,
}

/// What can be listed.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub enum ListWhat {
    /// What can be measured
    Probes,
    /// What can be found
    Causes,
}

/// Arguments of `completions`.
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: clap_complete::Shell,
}

/// Output options, the same for every command that reports.
#[derive(Debug, Args)]
pub struct Show {
    /// Form of the report
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = OUTPUT)]
    pub format: Format,
    /// Write the report here instead of standard output
    #[arg(long, value_name = "FILE", help_heading = OUTPUT)]
    pub output: Option<PathBuf>,
    /// Least impact for exit status 1: broken, degraded, risk, never
    #[arg(long, value_name = "IMPACT", default_value = "degraded", help_heading = OUTPUT)]
    #[arg(value_parser = fail_on_parser(), hide_possible_values = true)]
    pub fail_on: FailOn,
    /// When to colour.
    #[command(flatten)]
    pub color: Color,
    /// Only the verdict and one line per cause
    #[arg(short, long, visible_alias = "brief", conflicts_with = "verbose", help_heading = OUTPUT)]
    pub quiet: bool,
    /// Everything that was measured, with times
    #[arg(short, long, help_heading = OUTPUT)]
    pub verbose: bool,
}

impl Show {
    /// How much to show.
    pub fn detail(&self) -> Detail {
        match (self.quiet, self.verbose) {
            (true, _) => Detail::Quiet,
            (_, true) => Detail::Verbose,
            _ => Detail::Normal,
        }
    }
}

/// The colour option.
#[derive(Clone, Copy, Debug, Args)]
pub struct Color {
    /// When to colour; auto heeds NO_COLOR and CLICOLOR_FORCE
    #[arg(long = "color", value_enum, value_name = "WHEN", default_value_t = ColorChoice::Auto)]
    #[arg(help_heading = OUTPUT)]
    choice: ColorChoice,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ColorChoice {
    Auto,
    Always,
    Never,
}

impl From<Color> for ColorWish {
    fn from(color: Color) -> Self {
        match color.choice {
            ColorChoice::Auto => Self::Auto,
            ColorChoice::Always => Self::Always,
            ColorChoice::Never => Self::Never,
        }
    }
}

const TARGET: &str = "Target and comparison";
const PROBES: &str = "What to run";
const HOST: &str = "On the PDS's machine";
const NETWORK: &str = "Network";
const OUTPUT: &str = "Output";

impl Check {
    /// What the engine needs to know.
    pub fn options(&self) -> Result<CheckOptions, String> {
        let probes = crate::options::closure(&self.only, &self.skip);
        if probes.iter().all(|probe| *probe == ProbeName::OwnNetwork) && !self.only.contains(&ProbeName::OwnNetwork) {
            return Err("--only and --skip leave no probe to run".to_owned());
        }
        if let (Some(save), Some(output)) = (&self.save, &self.show.output)
            && save == output
        {
            return Err("--save and --output name the same file".to_owned());
        }
        let read = |raw: &String| parse::target(raw).map_err(|why| format!("TARGET {}: {why}", parse::shown(raw)));
        let target = self.target.as_ref().map(read).transpose()?;
        if target.is_none() && (self.host_probes == HostProbes::Never || cfg!(not(target_os = "linux"))) {
            return Err("without TARGET this machine is examined, which needs Linux and --host-probes".to_owned());
        }
        if self.host_probes == HostProbes::Never && (self.container.is_some() || self.pid.is_some()) {
            return Err("--container and --pid are for the probes that --host-probes never leaves out".to_owned());
        }
        if self.host_probes == HostProbes::Never && self.with_node {
            return Err("--with-node is for the probes that --host-probes never leaves out".to_owned());
        }
        let given = !self.client_id.is_empty();
        let client_ids = parse::client_ids(&self.client_id)?;
        let egress_hosts = self.egress_host.iter().map(|raw| parse::egress_host_of("--egress-host", raw));
        let egress_hosts: Vec<EgressHost> = egress_hosts.collect::<Result<_, _>>()?;
        Ok(CheckOptions {
            input: self.target.as_deref().map(parse::shortened).unwrap_or_default(),
            target,
            against: self.against.as_deref().map(parse::reference).transpose()?,
            no_reference: self.no_reference,
            no_third_party: self.no_third_party,
            client_ids: if given { client_ids } else { vec![DEFAULT_CLIENT_ID.to_owned()] },
            client_ids_given: given,
            egress_hosts: egress::hosts(&egress_hosts, &config::egress_hosts()?, self.no_third_party),
            egress_hosts_given: !self.egress_host.is_empty(),
            only_v4: self.only_v4,
            only_v6: self.only_v6,
            probes,
            host_probes: self.host_probes,
            container: self.container.clone(),
            pid: self.pid,
            with_node: self.with_node,
            // The reader of the PDS's tree takes paths from its root.
            env_file: self.env_file.as_ref().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone())),
            log: self.log.clone(),
            resolve: self.resolve.clone(),
            nameservers: self.nameserver.clone(),
            timeout: Duration::from_secs(self.timeout),
            also_given: self.also_given(),
        })
    }

    /// In the order of `--help`.
    fn also_given(&self) -> Vec<&'static str> {
        let all = [
            (!self.egress_host.is_empty(), "--egress-host"),
            (!self.only.is_empty(), "--only"),
            (!self.skip.is_empty(), "--skip"),
            (self.timeout != DEFAULT_TIMEOUT.as_secs(), "--timeout"),
            (self.host_probes != HostProbes::Auto, "--host-probes"),
            (self.container.is_some(), "--container"),
            (self.pid.is_some(), "--pid"),
            (self.env_file.is_some(), "--env-file"),
            (self.log.is_some(), "--log"),
            (self.with_node, "--with-node"),
            (!self.resolve.is_empty(), "--resolve"),
            (!self.nameserver.is_empty(), "--nameserver"),
            (!self.ca_cert.is_empty(), "--ca-cert"),
        ];
        all.into_iter().filter(|(given, _)| *given).map(|(_, option)| option).collect()
    }
}

/// Completions for a shell.
pub fn completions(shell: clap_complete::Shell) -> String {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "pdsdoctor", &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// The manual page: the program, then each command.
pub fn man() -> std::io::Result<String> {
    let mut out = Vec::new();
    let mut command = Cli::command();
    command.build();
    clap_mangen::Man::new(command.clone()).render(&mut out)?;
    for sub in command.get_subcommands() {
        let name = sub.get_name().to_uppercase();
        let page = clap_mangen::Man::new(sub.clone());
        out.extend_from_slice(format!(".SH \"COMMAND {name}\"\n").as_bytes());
        page.render_synopsis_section(&mut out)?;
        page.render_description_section(&mut out)?;
        page.render_options_section(&mut out)?;
    }
    Ok(String::from_utf8_lossy(&out).into_owned())
}

fn probe_parser() -> impl TypedValueParser<Value = ProbeName> {
    PossibleValuesParser::new(ProbeName::iter().map(<&'static str>::from)).try_map(|name| name.parse::<ProbeName>())
}

fn host_probes_parser() -> impl TypedValueParser<Value = HostProbes> {
    PossibleValuesParser::new(["auto", "always", "never"]).try_map(|name| name.parse::<HostProbes>())
}

fn fail_on_parser() -> impl TypedValueParser<Value = FailOn> {
    PossibleValuesParser::new(["broken", "degraded", "risk", "never"]).try_map(|name| name.parse::<FailOn>())
}

fn after_help() -> String {
    format!("Start with:  pdsdoctor check pds.example.com\n\nExit status:\n{}", exit::table())
}

fn check_after_help() -> String {
    let egress: Vec<String> = EGRESS_HOSTS.iter().map(|(family, url)| format!("    {family:<4} {url}\n")).collect();
    format!(
        "Third parties contacted, besides the target:\n  \
         the known-good PDS ({}, unless --against),\n  \
         the client metadata document ({DEFAULT_CLIENT_ID},\n  unless --client-id),\n  \
         the PLC directory (plc.directory), for did:plc,\n  \
         and where a login fails the target is made to fetch from\n{}    \
         (others: --egress-host, or {EGRESS_HOSTS_VAR} in the environment),\n    \
         the PLC directory and its AppView;\n  \
         on the PDS's machine what the PDS's configuration names, too,\n  \
         icanhazip.com (as which address is this machine seen?) and 9.9.9.9\n  \
         (the first routers; names, where an answer here is not public).\n\
         --no-third-party contacts none that is not named. Nothing is changed anywhere,\n\
         no account is needed, no secret is asked for.\n\nExit status:\n{}",
        REFERENCES.join(", else "),
        egress.concat(),
        exit::table()
    )
}

/// For tests of what the options come to.
#[cfg(test)]
pub(crate) mod tests_support {
    use super::*;

    /// What a command line of `check` asks for.
    pub(crate) fn options<const N: usize>(words: [&str; N]) -> CheckOptions {
        let Command::Check(check) = Cli::try_parse_from(words).expect("a command line").command else {
            panic!("not check")
        };
        check.options().expect("options")
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    /// Every option of `check` that changes what is measured is part of a run, or named in it.
    #[test]
    fn whoever_measures_again_knows_of_every_option() {
        const IN_A_RUN: [&str; 7] =
            ["target", "against", "no_reference", "client_id", "no_third_party", "only_v4", "only_v6"];
        let mut command = Cli::command();
        command.build();
        let check = command.find_subcommand("check").expect("check");
        let options = check.get_arguments().filter(|option| {
            let id = option.get_id().as_str();
            let shows = matches!(option.get_help_heading(), Some(OUTPUT | "Help"));
            !shows && !IN_A_RUN.contains(&id)
        });
        for option in options {
            let name = format!("--{}", option.get_long().expect("a long name"));
            let value = match name.as_str() {
                "--egress-host" => Some("near=https://a.example/"),
                "--only" | "--skip" => Some("tls"),
                "--timeout" | "--pid" => Some("77"),
                "--host-probes" => Some("always"),
                "--resolve" => Some("a.example:443:192.0.2.1"),
                "--nameserver" => Some("192.0.2.1"),
                _ => option.get_action().takes_values().then_some("thing"),
            };
            let words = ["pdsdoctor", "check", "a.example", name.as_str()].into_iter().chain(value);
            let Command::Check(check) = Cli::try_parse_from(words).expect(&name).command else { panic!("not check") };
            assert_eq!(check.options().expect(&name).also_given, [name.as_str()]);
        }
        let Command::Check(plain) = Cli::try_parse_from(["pdsdoctor", "check"]).expect("plain").command else {
            panic!("not check")
        };
        assert!(plain.options().expect("plain").also_given.is_empty());
    }
}
