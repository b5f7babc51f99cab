//! The inside view: this machine, if it is the PDS's own. It is looked at from time zero, aside; what
//! was seen counts once it is clear that the PDS under examination is here.

use super::Context;

#[cfg(not(target_os = "linux"))]
pub(super) async fn examine(context: &Context) {
    context.bridge.found.send_replace(Some(None));
    context.bridge.placed.send_replace(true);
}

#[cfg(target_os = "linux")]
pub(super) use linux::examine;

#[cfg(target_os = "linux")]
mod linux {
    use std::{convert::Infallible, time::Duration};

    use pdsdoctor_probes::{
        fact::{Family, ProbeName, Role},
        inside::{self, ATTEMPTS, EgressHost, HostReason, InsideOptions, Manner, Place, Survey, Wanted},
        net::Net,
        process_fact::FoundBy,
        record::TargetKind,
        text::Text,
    };
    use tokio::sync::watch;

    use super::Context;
    use crate::{
        options::{HostProbes, REFERENCES},
        run::{
            bridge::Known,
            clients::{DOCUMENTS, https_host},
            with_node::{self, ours},
        },
    };

    /// The directory, unless the PDS's own configuration says otherwise.
    const DIRECTORY: &str = "plc.directory";

    /// Examines this machine.
    pub(in crate::run) async fn examine(context: &Context) {
        let options = &context.options;
        let wanted = ProbeName::of_host().any(|probe| context.measures(probe));
        if options.host_probes == HostProbes::Never || !wanted {
            context.bridge.found.send_replace(Some(None));
            context.bridge.placed.send_replace(true);
            return;
        }
        let aside = context.net.aside();
        let (name, named) = watch::channel(Wanted::default());
        let how = InsideOptions {
            pid: options.pid,
            container: options.container.clone(),
            command: crate::diagnose::step::measure_again(Some(&options.input), false).to_string(),
            env_file: options.env_file.clone(),
            // Of many PDSes here the target is looked at first.
            wanted: options.target.as_ref().map(|_| named),
            ..InsideOptions::default()
        };
        let survey = tokio::select! {
            survey = inside::survey(&aside, &how) => survey,
            never = tell(context, &name) => match never {},
        };
        let named = survey.processes.iter().find_map(|process| process.fact.hostname.as_ref());
        let named = named.or_else(|| survey.claims.first().map(|claim| &claim.hostname));
        context.bridge.found.send_replace(Some(named.map(ToString::to_string)));
        let why = reason(context, &survey).await;
        if why.is_some() {
            context.second_look.make(true);
        }
        context.bridge.placed.send_replace(true);
        let Some(why) = why else {
            nobodys(context, &survey, &how);
            return;
        };
        context.net.adopt(&aside);
        context.found().pds_host = Some(Text::limited(&why, 160));
        strangers_word(context, &survey);
        let listening = async {
            if context.measures(ProbeName::RouterAdvertisement) {
                survey.listen(&context.net, &how, inside::LISTEN).await;
            }
        };
        let node = with_node::examine(context, &survey, &how);
        let log = async {
            // After the login requests, so that their failures are in it.
            let mut known = context.bridge.known.subscribe();
            if known.wait_for(|known| known.complete).await.is_ok()
                && context.measures(ProbeName::PdsLog)
                && let Some(process) = ours(context, &survey).first()
            {
                inside::container_log(&context.net, &how, &process.fact).await;
            }
        };
        tokio::join!(listening, egress(context, &survey, &how), local(context, &survey), position(context), node, log);
    }

    /// Passes on which PDS is meant, as it becomes known.
    async fn tell(context: &Context, name: &watch::Sender<Wanted>) -> Infallible {
        let mut known = context.bridge.known.subscribe();
        loop {
            let Known { host, complete, .. } = known.borrow_and_update().clone();
            name.send_replace(Wanted { host, complete });
            if known.changed().await.is_err() {
                return std::future::pending().await;
            }
        }
    }

    /// Why this is the PDS's machine; `None`: it is not, as far as can be seen.
    async fn reason(context: &Context, survey: &Survey) -> Option<String> {
        let options = &context.options;
        let mut known = context.bridge.known.subscribe();
        let told = match (&options.container, options.pid) {
            (Some(container), _) => Some(format!("--container {container}")),
            (None, Some(pid)) => Some(format!("--pid {pid}")),
            _ if options.host_probes == HostProbes::Always => Some("--host-probes always".to_owned()),
            _ if options.target.is_none() => Some("no target was named".to_owned()),
            _ => None,
        };
        if told.is_some() {
            // What is asked next is about its name.
            let _ = known.wait_for(|known| known.complete || known.host.is_some()).await;
            return told;
        }
        let is_here = |known: &Known| {
            let host = known.host.as_deref()?;
            inside::is_pds_host(host, &known.addresses, survey)
        };
        // Until then nothing is certain: the name may be a handle, an address may still come.
        let known = known.wait_for(|known| known.complete || is_here(known).is_some()).await.ok()?.clone();
        Some(match is_here(&known)? {
            HostReason::OwnAddress(addr) => format!("{addr} is an address of this machine"),
            HostReason::Hostname(pid) => format!("process {pid} is in the container that was made for it"),
            HostReason::Claimed(pid) => format!("process {pid} says so, with its PDS_HOSTNAME, and nothing else does"),
        })
    }

    /// Anybody on a machine can start a process with any host name: where nothing but that makes this the PDS's machine, what
    /// is said of the machine is said because of it.
    fn strangers_word(context: &Context, survey: &Survey) {
        let known = context.bridge.known.borrow();
        let Some(host) = known.host.as_deref().filter(|_| context.options.host_probes != HostProbes::Always) else {
            return;
        };
        let Some(HostReason::Claimed(pid)) = inside::is_pds_host(host, &known.addresses, survey) else { return };
        let claims = |process: &&inside::PdsProcess| {
            process.fact.pid == pid && process.fact.found == FoundBy::Scan && process.is_a_strangers_word()
        };
        if let Some(process) = survey.processes.iter().find(claims) {
            let why = format!("that this is the PDS's machine is the word of {} alone", process.words());
            let needs = format!("--pid {pid}, if it is; --host-probes never, if not");
            context.net.not_measured(ProbeName::PdsProcess, &why, &needs);
        }
    }

    /// Not the PDS's machine. Where that rests on what may not be read, it is said.
    fn nobodys(context: &Context, survey: &Survey, how: &InsideOptions) {
        if survey.processes.is_empty() && !survey.unreadable.is_empty() {
            let pids: Vec<String> = survey.unreadable.iter().take(5).map(ToString::to_string).collect();
            let why = format!("Node processes of other users run here ({}); one may be this PDS", pids.join(", "));
            context.net.not_measured(ProbeName::PdsProcess, &why, &how.sudo());
        }
    }

    /// The PDS, asked on its own machine.
    async fn local(context: &Context, survey: &Survey) {
        if !context.measures(ProbeName::PdsProcess) {
            return;
        }
        let host = context.found().target.host.clone();
        let pds = ours(context, survey);
        let own_port = async {
            if let Some(pds) = pds.first() {
                inside::own_port(&context.net, pds).await;
            }
        };
        let own_front = async {
            if let Some(host) = host.filter(|_| !pds.is_empty()) {
                inside::own_front(&context.net, &host, &survey.own_addresses).await;
            }
        };
        let port = context.found().target.port;
        let name = context.found().target.host.clone();
        let upstreams = async {
            if let Some(host) = name.filter(|_| !pds.is_empty()) {
                inside::upstreams(&context.net, &host, port, &survey.own_addresses).await;
            }
        };
        tokio::join!(own_port, own_front, upstreams);
    }

    /// Where this machine stands in the world.
    async fn position(context: &Context) {
        let third_parties = !context.options.no_third_party;
        let nobody = context.found().target.kind == TargetKind::Machine;
        if !context.measures(ProbeName::Position) || !third_parties || nobody {
            return;
        }
        let mut families = Vec::new();
        families.extend(context.has_v4.then_some(Family::V4));
        families.extend(context.has_v6.then_some(Family::V6));
        tokio::join!(inside::echo(&context.net, &families), inside::hops(&context.net));
    }

    /// The way out, from this machine and from where the PDS is.
    async fn egress(context: &Context, survey: &Survey, how: &InsideOptions) {
        // A machine without a PDS has nothing to reach.
        let nobody = context.found().target.kind == TargetKind::Machine;
        if !context.measures(ProbeName::Egress) || nobody {
            return;
        }
        let pds = ours(context, survey);
        let mut places = vec![Place::here()];
        places.extend(pds.iter().filter_map(|process| process.place.clone()));
        places.dedup_by(|later, first| (&later.vantage, &later.files) == (&first.vantage, &first.files));
        let hosts = hosts(context, pds.first().copied());
        let patience = inside::PATIENCE.min(rest(&context.net, context.options.timeout));
        let manner = Manner { patience, third_parties: !context.options.no_third_party, sudo: how.sudo() };
        inside::egress(&context.net, &places, &hosts, &manner).await;
    }

    /// What is left of the run, less a moment for the end.
    fn rest(net: &Net, limit: Duration) -> Duration {
        const END: Duration = Duration::from_millis(500);
        limit.saturating_sub(Duration::from_millis(net.elapsed_ms())).saturating_sub(END).max(END)
    }

    /// What this PDS must reach: its own name, the applications, and what its configuration names.
    fn hosts(context: &Context, pds: Option<&inside::PdsProcess>) -> Vec<EgressHost> {
        let options = &context.options;
        let mut hosts: Vec<EgressHost> = Vec::new();
        let mut add = |host: EgressHost| {
            if !hosts.iter().any(|known| (&known.host, known.port) == (&host.host, host.port)) {
                hosts.push(host);
            }
        };
        {
            let found = context.found();
            if let Some(host) = &found.target.host {
                let port = found.target.port;
                let public_only = !context.contacts.is_named(host, port);
                add(EgressHost { public_only, ..EgressHost::new(Role::Target, host, port) });
            }
        }
        if !options.no_third_party || options.client_ids_given {
            for id in options.client_ids.iter().take(DOCUMENTS) {
                if let Some((host, port)) = https_host(id) {
                    let document = Some(id.clone());
                    add(EgressHost { attempts: ATTEMPTS, document, ..EgressHost::new(Role::Client, &host, port) });
                }
            }
        }
        if options.no_third_party {
            return hosts;
        }
        let services = pds.map(|process| process.fact.services.as_slice()).unwrap_or_default();
        for service in services {
            let role = if service.key.as_str() == "PDS_DID_PLC_URL" { Role::Directory } else { Role::Service };
            add(EgressHost { tls: service.tls, ..EgressHost::new(role, &service.host, service.port) });
        }
        if !services.iter().any(|service| service.key.as_str() == "PDS_DID_PLC_URL") {
            add(EgressHost::new(Role::Directory, DIRECTORY, 443));
        }
        if !options.no_reference {
            let reference = options.against.as_deref().or(REFERENCES.first().copied());
            if let Some((host, port)) = reference.and_then(|host| https_host(&format!("https://{host}"))) {
                add(EgressHost::new(Role::Reference, &host, port));
            }
        }
        hosts
    }
}
