//! How far each address got: a table of what was measured, judged as the rules judge it (by the clock that is right, by
//! what a PAR costs without its fetch). Renderers draw it.

use std::{
    collections::{BTreeMap, BTreeSet},
    mem::discriminant,
    net::IpAddr,
};

use pdsdoctor_probes::{
    dns_fact::{DnsFact, DnsOutcome, DnsPurpose, SystemDnsOutcome},
    fact::{Fact, FactBody, FactId, FailureKind, Role},
    http_fact::{BodyClass, HttpFact, HttpPurpose},
    par_fact::{ParArm, ParFact},
    record::Run,
    text::Text,
    tls_fact::{CertificateFact, PathVerdict, TlsFact, Validity},
};

use super::{
    evidence::{Evidence, Seen, host_of},
    grid::{Cell, Grid, Group, Row, Tone},
    par_stage::Stage,
};

/// The table of a run.
pub fn of(run: &Run) -> Grid {
    grid(&Evidence::new(run))
}

/// Builds the table.
pub fn grid(evidence: &Evidence<'_>) -> Grid {
    let run = evidence.run;
    let mut grid = Grid { certificates: certificates(evidence), ..Grid::default() };
    let host = run.target.host.as_deref().unwrap_or(&run.target.input);
    let plain = |name: &str| name.to_owned();
    let part = |name: &str, part: &str| format!("{name} ({part})");
    if let Some(group) = group(evidence, Role::Target, plain(host)) {
        grid.groups.push(group);
    }
    if let Some(name) = first_host(evidence, Role::TargetAuthServer) {
        grid.groups.extend(group(evidence, Role::TargetAuthServer, part(&name, "its authorization server")));
    }
    let targets = grid.groups.len();
    if let Some(reference) = &run.reference {
        grid.groups.extend(group(evidence, Role::Reference, part(&reference.host, "reference")));
        if let Some(name) = first_host(evidence, Role::ReferenceAuthServer) {
            let title = part(&name, "its authorization server");
            grid.groups.extend(group(evidence, Role::ReferenceAuthServer, title));
        }
    }
    let (ours, theirs) = grid.groups.split_at_mut(targets);
    grid.notes = place_pars(evidence, ours, theirs);
    grid
}

/// The facts from outside, without those about a name that was tried as a host and turned out to be a handle.
fn bodies<'a>(evidence: &Evidence<'a>) -> impl Iterator<Item = (&'a Fact, &'a FactBody)> {
    let host = evidence.host();
    let outside = evidence.facts().iter().copied().filter(|fact| !fact.probe.is_inside());
    outside.map(|fact| (fact, &fact.body)).filter(move |(_, body)| {
        let (role, name) = match body {
            FactBody::Connect(f) => (f.role, f.host.to_string()),
            FactBody::Dns(f) if f.purpose == DnsPurpose::Address => (f.role, f.name.to_string()),
            FactBody::SystemDns(f) => (f.role, f.name.to_string()),
            FactBody::Tls(f) => (f.role, f.sni.to_string()),
            FactBody::Http(f) => (f.role, host_of(&f.url).unwrap_or_default()),
            _ => return true,
        };
        role != Role::Target || host.is_none_or(|host| name == host)
    })
}

fn first_host(evidence: &Evidence<'_>, role: Role) -> Option<String> {
    bodies(evidence).find_map(|(_, body)| match body {
        FactBody::Connect(f) if f.role == role => Some(f.host.to_string()),
        FactBody::Dns(f) if f.role == role && f.purpose == DnsPurpose::Address => Some(f.name.to_string()),
        _ => None,
    })
}

fn group(evidence: &Evidence<'_>, role: Role, title: String) -> Option<Group> {
    let addrs = addresses(evidence, role);
    let mut rows: Vec<Row> = addrs.iter().map(|&addr| row(evidence, role, addr)).collect();
    let is_tried = |row: &Row| row.cells[1..].iter().any(|cell| !cell.is_absent());
    if matches!(role, Role::Reference | Role::ReferenceAuthServer) && rows.iter().any(is_tried) {
        // Of the reference one working line is enough; its other addresses are nobody's concern.
        rows.retain(is_tried);
    }
    if rows.is_empty() {
        let mut cells: [Cell; 6] = std::array::from_fn(|_| Cell::absent());
        cells[0] = Cell::bad(dns_word(evidence, role)?);
        rows.push(Row { label: "no address".to_owned(), cells });
    }
    Some(Group { title, rows })
}

/// Every address that was tried or found, IPv4 first.
fn addresses(evidence: &Evidence<'_>, role: Role) -> BTreeSet<IpAddr> {
    let mut addrs = BTreeSet::new();
    for (_, body) in bodies(evidence) {
        match body {
            FactBody::Connect(f) if f.role == role && f.port == port(evidence, role) => {
                addrs.insert(f.addr);
            }
            FactBody::Dns(f) if f.role == role && f.purpose == DnsPurpose::Address => {
                addrs.extend(f.addresses());
            }
            FactBody::SystemDns(f) if f.role == role => addrs.extend(&f.addresses),
            _ => {}
        }
    }
    addrs
}

/// The port whose connects and handshakes count: others (port 80) are beside the point here.
fn port(evidence: &Evidence<'_>, role: Role) -> u16 {
    if role == Role::Target {
        return evidence.run.target.port;
    }
    let of_tls = bodies(evidence).find_map(|(_, body)| match body {
        FactBody::Tls(f) if f.role == role => Some(f.port),
        _ => None,
    });
    of_tls.unwrap_or(443)
}

fn row(evidence: &Evidence<'_>, role: Role, addr: IpAddr) -> Row {
    let tcp = bodies(evidence).find_map(|(fact, body)| match body {
        FactBody::Connect(f) if f.role == role && f.addr == addr && f.port == port(evidence, role) => {
            Some(f.failure.as_ref().map_or_else(|| Cell::good(fact.took_ms), |why| Cell::bad(word(why.kind))))
        }
        _ => None,
    });
    let tls = bodies(evidence).find_map(|(fact, body)| match body {
        FactBody::Tls(f) if f.role == role && f.addr == addr && f.port == port(evidence, role) => {
            Some(tls_cell(evidence, f, fact.took_ms))
        }
        _ => None,
    });
    let http = |purposes: &[HttpPurpose]| {
        let cells = bodies(evidence).filter_map(|(fact, body)| match body {
            FactBody::Http(f) if f.role == role && f.addr == Some(addr) && purposes.contains(&f.purpose) => {
                Some(http_cell(f, fact.took_ms))
            }
            _ => None,
        });
        // Of several exchanges the one that went wrong counts, else the first.
        cells.reduce(|first, next| if first.tone != Tone::Bad && next.tone == Tone::Bad { next } else { first })
    };
    let cells = [
        dns_cell(evidence, role, addr),
        tcp,
        tls,
        http(&[HttpPurpose::Health, HttpPurpose::DescribeServer]),
        http(&[HttpPurpose::ProtectedResource, HttpPurpose::AuthorizationServer]),
        None,
    ];
    Row { label: addr.to_string(), cells: cells.map(|cell| cell.unwrap_or_else(Cell::absent)) }
}

fn dns_cell(evidence: &Evidence<'_>, role: Role, addr: IpAddr) -> Option<Cell> {
    let direct = bodies(evidence).filter_map(|(fact, body)| match body {
        FactBody::Dns(f) if f.role == role && f.addresses().contains(&addr) => Some(fact.took_ms),
        _ => None,
    });
    let system = bodies(evidence).filter_map(|(fact, body)| match body {
        FactBody::SystemDns(f) if f.role == role && f.addresses.contains(&addr) => Some(fact.took_ms),
        _ => None,
    });
    let given = || {
        let host = evidence.host().filter(|_| role == Role::Target)?;
        let said = evidence.run.settings.resolved_by_user.iter().any(|name| name.eq_ignore_ascii_case(host));
        said.then(|| Cell { text: "given".to_owned(), tone: Tone::Good })
    };
    direct.min().or_else(|| system.min()).map(Cell::good).or_else(given)
}

/// Why a name led to no address.
fn dns_word(evidence: &Evidence<'_>, role: Role) -> Option<&'static str> {
    let direct = bodies(evidence).find_map(|(_, body)| match body {
        FactBody::Dns(DnsFact { role: r, purpose: DnsPurpose::Address, outcome, .. }) if *r == role => {
            Some(match outcome {
                DnsOutcome::Answer | DnsOutcome::NoData => "no data",
                DnsOutcome::NxDomain => "no name",
                DnsOutcome::ServFail => "servfail",
                DnsOutcome::Refused => "refused",
                DnsOutcome::Timeout => "silent",
                DnsOutcome::Unreachable => "no route",
                DnsOutcome::NotAsked => "not asked",
                DnsOutcome::OtherCode | DnsOutcome::Malformed => "failed",
            })
        }
        _ => None,
    });
    direct.or_else(|| {
        bodies(evidence).find_map(|(_, body)| match body {
            FactBody::SystemDns(f) if f.role == role => Some(match f.outcome {
                SystemDnsOutcome::Answer | SystemDnsOutcome::NotFound => "no name",
                SystemDnsOutcome::TryAgain => "servfail",
                SystemDnsOutcome::Failed => "failed",
                SystemDnsOutcome::NotAsked => "not asked",
                SystemDnsOutcome::Timeout => "silent",
            }),
            _ => None,
        })
    })
}

/// One word for a failure of the network.
pub fn word(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Refused => "refused",
        FailureKind::Reset => "reset",
        FailureKind::HostUnreachable => "no host",
        FailureKind::NetworkUnreachable => "no route",
        FailureKind::Prohibited => "blocked",
        FailureKind::Timeout => "silent",
        FailureKind::Closed => "closed",
        FailureKind::TlsAlert => "alert",
        FailureKind::NotTls => "not TLS",
        FailureKind::NotHttp => "not HTTP",
        FailureKind::TooLarge => "too big",
        FailureKind::TooSlow => "too slow",
        FailureKind::Flood => "flood",
        FailureKind::ThisSideResources => "this side",
        FailureKind::Unresolved => "no name",
        FailureKind::TlsOther | FailureKind::Other => "failed",
    }
}

fn tls_cell(evidence: &Evidence<'_>, fact: &TlsFact, took_ms: u64) -> Cell {
    if let Some(failure) = &fact.failure {
        return Cell::bad(word(failure.kind));
    }
    match fact.certificate.as_ref().and_then(|certificate| certificate_problem(evidence, certificate)) {
        Some(problem) => Cell::bad(problem),
        None => Cell::good(took_ms),
    }
}

/// What clients would hold against the certificates that were shown, wherever it was.
fn certificates(evidence: &Evidence<'_>) -> BTreeMap<FactId, &'static str> {
    let problem = |fact: &Fact| match &fact.body {
        FactBody::Tls(f) => Some((fact.id.clone(), certificate_problem(evidence, f.certificate.as_ref()?)?)),
        _ => None,
    };
    evidence.run.facts.iter().filter_map(problem).collect()
}

/// What a client would hold against the certificate, in a word. Its dates are judged by the clock that is right.
fn certificate_problem(evidence: &Evidence<'_>, certificate: &CertificateFact) -> Option<&'static str> {
    let trusted =
        |path: PathVerdict| certificate.trust_given || matches!(path, PathVerdict::Trusted | PathVerdict::NoStore);
    match evidence.validity(certificate) {
        Validity::Expired => Some("expired"),
        Validity::NotYet => Some("too new"),
        Validity::Valid if !certificate.name_matches => Some("name"),
        Validity::Valid if !trusted(certificate.trust_mozilla) || !trusted(certificate.trust_system) => {
            Some("untrusted")
        }
        Validity::Valid => None,
    }
}

fn http_cell(fact: &HttpFact, took_ms: u64) -> Cell {
    if let Some(failure) = &fact.failure {
        return Cell::bad(word(failure.kind));
    }
    let status = fact.status.unwrap_or(0);
    let body = fact.body.as_ref().map(|body| body.class);
    match (status, body) {
        (200, Some(BodyClass::Expected)) => Cell::good(took_ms),
        (200, Some(class)) => Cell::bad(class.to_string()),
        (200, None) => Cell::bad("empty"),
        // Clients do without this document (they take the PDS as its own authorization server).
        (404, _) if fact.purpose == HttpPurpose::ProtectedResource => Cell::good(took_ms),
        _ => Cell::bad(status.to_string()),
    }
}

/// A PAR and how far it got.
struct Par<'a> {
    fact: &'a ParFact,
    took_ms: u64,
    stage: Stage,
}

fn pars<'a>(evidence: &Evidence<'a>, role: Role) -> Vec<Par<'a>> {
    let of_role = |fact: &'a Fact| match &fact.body {
        // The other arms say how the way out is, not how far a login gets.
        FactBody::Par(body) if body.role == role && (body.arm == ParArm::Localhost || body.arm.is_login()) => {
            let stage = evidence.stage_of(Seen { fact, body });
            Some(Par { fact: body, took_ms: fact.took_ms, stage })
        }
        _ => None,
    };
    evidence.facts().iter().copied().filter(|fact| !fact.probe.is_inside()).filter_map(of_role).collect()
}

/// Puts the PARs into the rows; returns where the two sides differ.
fn place_pars(evidence: &Evidence<'_>, ours: &mut [Group], theirs: &mut [Group]) -> Vec<String> {
    let target = pars(evidence, Role::Target);
    let reference = pars(evidence, Role::Reference);
    let mut notes: Vec<(&Text, String)> = Vec::new();
    for par in &target {
        let twin = reference.iter().find(|twin| twin.fact.arm == par.fact.arm && twin.fact.client == par.fact.client);
        let differs = twin.is_some_and(|twin| {
            !par.stage.is_expected(par.fact.arm) && discriminant(&twin.stage) != discriminant(&par.stage)
        });
        place(ours, par, differs);
        if let (true, Some(twin)) = (differs, twin) {
            let side =
                |par: &Par<'_>| format!("{} {} ({} ms)", authority(&par.fact.server), par.stage.words(), par.took_ms);
            // One note for each client: of the document nobody asked for before, where there is one.
            let note = format!("{}; {}", side(par), side(twin));
            match notes.iter_mut().find(|(client, _)| *client == &par.fact.client) {
                Some((_, kept)) if par.fact.arm == ParArm::CacheBusted => *kept = note,
                Some(_) => {}
                None => notes.push((&par.fact.client, note)),
            }
        }
    }
    for par in &reference {
        place(theirs, par, false);
    }
    notes.into_iter().map(|(_, note)| note).collect()
}

fn authority(origin: &str) -> &str {
    origin.split_once("://").map_or(origin, |(_, host)| host)
}

/// The row of its address, else the first row that got as far as HTTP, else the first: of several
/// PARs on one row the one that got least far is shown.
fn place(groups: &mut [Group], par: &Par<'_>, differs: bool) {
    let cell = par_cell(par, differs);
    let label = par.fact.addr.map(|addr| addr.to_string());
    // An authorization server of its own comes after the PDS, and is the one that was asked.
    let mut rows: Vec<&mut Row> = groups.iter_mut().rev().flat_map(|group| &mut group.rows).collect();
    let index = rows
        .iter()
        .position(|row| Some(&row.label) == label.as_ref())
        .or_else(|| rows.iter().position(|row| row.cells[3].tone == Tone::Good))
        .or_else(|| (!rows.is_empty()).then_some(0));
    let Some(slot) = index.map(|index| &mut rows[index].cells[5]) else { return };
    let is_worse = slot.tone == Tone::Good && cell.tone == Tone::Bad;
    let is_starred = cell.text.ends_with('*') && !slot.text.ends_with('*');
    // The localhost arm measures the way there; the document arms are what a login does.
    let is_login = slot.tone == cell.tone && par.fact.arm == ParArm::AsNamed && !slot.text.ends_with('*');
    if slot.is_absent() || is_worse || is_starred || is_login {
        *slot = cell;
    }
}

fn par_cell(par: &Par<'_>, differs: bool) -> Cell {
    if par.stage.is_expected(par.fact.arm) {
        return Cell::good(par.took_ms);
    }
    let word = match &par.stage {
        Stage::NoRoute(kind) => word(*kind).to_owned(),
        Stage::NotAPds | Stage::ServerError => par.fact.status.map_or("no".to_owned(), |code| code.to_string()),
        Stage::RequestRefused => "refused".to_owned(),
        Stage::ClientIdRefused => "bad id".to_owned(),
        Stage::DocumentNotObtained(_) => "no doc".to_owned(),
        Stage::DocumentRefused(_) => "bad doc".to_owned(),
        Stage::KeysNotObtained => "no keys".to_owned(),
        Stage::Scope => "scope".to_owned(),
        _ => "failed".to_owned(),
    };
    Cell::bad(if differs { format!("{word}*") } else { word })
}
