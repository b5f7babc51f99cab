//! What nearly every PDS is asked in the end is begun as soon as an address of its host is known, beside the line that
//! finds out whether it is a PDS: so that no round trip waits for another without need. Only a name that the user, this
//! program or the target's DID document names is asked ahead, at its own address, and only what changes nothing there: two
//! documents, a list, and connections that are open when a login needs them. No login request (PAR) is sent before it is
//! known to be a PDS and where its documents want it, and no handshake is made for a handle before it offers such handles
//! (a server that gets certificates on demand would have to get one). What turns out to be in vain is thrown away.

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use pdsdoctor_probes::{
    fact::{ProbeName, Role},
    http_fact::{HttpFact, HttpPurpose},
    limits,
    outside::{
        fetch::{self, Opened},
        http::Line,
    },
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, timeout},
};

use super::{
    Context,
    clients::PARS_PER_CLIENT,
    identity::{WellKnown, well_known_once},
    open::open,
    origin,
};

/// A host to be looked at.
#[derive(Clone)]
pub(super) struct Host {
    /// Whose.
    pub(super) role: Role,
    /// Its name or address.
    pub(super) name: String,
    /// Where it answers.
    pub(super) port: u16,
}

impl Host {
    /// The target's.
    pub(super) fn target(name: &str, port: u16) -> Self {
        Self { role: Role::Target, name: name.to_owned(), port }
    }

    /// How many PARs it is sent as soon as it is known where to, for so many applications.
    fn first_pars(&self, logins: usize) -> usize {
        // The reference is asked about no own address at first, and a PDS fetches from the usual port only.
        let own_url = usize::from(self.role == Role::Target && self.port == 443);
        1 + own_url + PARS_PER_CLIENT * logins
    }
}

/// Where an authorization server says how it is asked (RFC 8414, section 3).
pub(super) const SERVER_PATH: &str = "/.well-known/oauth-authorization-server";

/// The two documents of OAuth discovery, as a PDS has them.
pub(super) struct Documents {
    /// Which server logs in.
    pub(super) resource: HttpFact,
    /// How, if it is the PDS itself.
    pub(super) server: HttpFact,
}

/// Asks for both: nearly every PDS is its own authorization server.
pub(super) async fn documents(context: &Context, role: Role, origin: &str, addr: IpAddr) -> Documents {
    let get = async |purpose, path| {
        let url = format!("{origin}{path}");
        let request = fetch::Request { role, purpose, url: &url, addr, limit: limits::FETCH };
        fetch::get(&context.net, ProbeName::OauthDiscovery, &request).await
    };
    let (resource, server) = tokio::join!(
        get(HttpPurpose::ProtectedResource, "/.well-known/oauth-protected-resource"),
        get(HttpPurpose::AuthorizationServer, SERVER_PATH),
    );
    Documents { resource, server }
}

/// The list of accounts, and the connection that it came over.
pub(super) async fn repos(context: &Context, host: &str, port: u16, addr: IpAddr) -> Option<(Line, HttpFact)> {
    let mut line = open(context, ProbeName::Handles, Role::Target, host, host, port, addr).await?;
    let path = "/xrpc/com.atproto.sync.listRepos?limit=20";
    let listed = line.get(&context.net, ProbeName::Handles, HttpPurpose::ListRepos, path).await;
    Some((line, listed))
}

/// All that was begun ahead at one address.
pub(super) struct Ahead {
    addr: IpAddr,
    begun: Instant,
    context: Arc<Context>,
    /// A connection has come about.
    stands: Arc<AtomicBool>,
    login: Login,
    names: Names,
}

/// What is for OAuth discovery and the logins.
#[derive(Default)]
pub(super) struct Login {
    documents: Option<Early<Documents>>,
    connections: Mutex<Vec<Early<Option<Opened>>>>,
}

/// What is for handles.
#[derive(Default)]
pub(super) struct Names {
    repos: Option<Early<Option<(Line, HttpFact)>>>,
    sample: Option<Sample>,
}

/// A random label under the host's own name.
pub(super) struct Sample {
    domain: String,
    context: Arc<Context>,
    go: watch::Sender<bool>,
    seen: Early<WellKnown>,
}

impl Ahead {
    /// Begins, with connections for so many logins.
    pub(super) fn begin(context: &Arc<Context>, place: &Host, addr: IpAddr, logins: usize) -> Self {
        let context = context.aside();
        let stands = Arc::new(AtomicBool::new(false));
        let url = origin(&place.name, place.port);
        let target = place.role == Role::Target;
        let documents = context.measures(ProbeName::OauthDiscovery).then(|| {
            let (context, url, role) = (Arc::clone(&context), url.clone(), place.role);
            Early::new(async move { documents(&context, role, &url, addr).await })
        });
        let wanted = documents.is_some() && context.measures(ProbeName::Par);
        let connections = (0..if wanted { place.first_pars(logins) } else { 0 }).map(|_| {
            let (url, stands) = (url.clone(), Arc::clone(&stands));
            Early::new(async move {
                let opened = Opened::ahead(&url, addr).await;
                stands.fetch_or(opened.is_some(), Ordering::Relaxed);
                opened
            })
        });
        let login = Login { documents, connections: Mutex::new(connections.collect()) };
        let mut names = Names::default();
        if target && context.measures(ProbeName::Handles) {
            let (there, place) = (Arc::clone(&context), place.clone());
            names.sample = Sample::begin(&context, &place.name);
            names.repos = Some(Early::new(async move { repos(&there, &place.name, place.port, addr).await }));
        }
        Self { addr, begun: Instant::now(), context, stands, login, names }
    }

    /// Makes what was begun part of the run, now that the host is known to be a PDS as which it answered at `answered`. `None`,
    /// and it is given up: it was begun at another address, and no PDS has answered there by now.
    pub(super) async fn confirmed(mut self, context: &Context, answered: IpAddr) -> Option<(IpAddr, Login, Names)> {
        if self.addr != answered && !self.is_pds().await {
            return None;
        }
        context.net.adopt(&self.context.net);
        Some((self.addr, self.login, self.names))
    }

    /// Its own documents are there, or come before twice the time is over that the other address took.
    async fn is_pds(&mut self) -> bool {
        if !self.stands.load(Ordering::Relaxed) {
            return false;
        }
        let Some(documents) = &mut self.login.documents else { return false };
        let known = timeout(self.begun.elapsed(), documents.known()).await;
        known.ok().flatten().is_some_and(|documents| documents.resource.is_expected())
    }
}

impl Login {
    /// Both documents of OAuth discovery, if they were asked for.
    pub(super) async fn documents(&mut self) -> Option<Documents> {
        self.documents.take()?.get().await
    }

    /// A connection to the host, if one was opened that nobody has yet.
    pub(super) async fn connection(&self) -> Option<Opened> {
        let next = self.connections.lock().unwrap_or_else(PoisonError::into_inner).pop();
        next?.get().await.flatten()
    }
}

impl Names {
    /// The list of accounts, and the connection that it came over.
    pub(super) async fn repos(&mut self) -> Option<Option<(Line, HttpFact)>> {
        self.repos.take()?.get().await
    }

    /// The sample under this domain, if it was begun.
    pub(super) fn sample(&mut self, domain: &str) -> Option<Sample> {
        self.sample.take_if(|sample| sample.domain == domain)
    }
}

impl Sample {
    /// Goes on with it, as the PDS offers such handles.
    pub(super) async fn finish(self, context: &Context) -> Option<WellKnown> {
        context.net.adopt(&self.context.net);
        self.go.send_replace(true);
        self.seen.get().await
    }

    fn begin(context: &Arc<Context>, host: &str) -> Option<Self> {
        host.parse::<IpAddr>().is_err().then(|| {
            let context = context.aside();
            let go = watch::Sender::new(false);
            let (there, name, may) = (Arc::clone(&context), format!("{}.{host}", context.label), go.subscribe());
            let (probe, role) = (ProbeName::Handles, Role::HandleSample);
            let seen = Early::new(async move { well_known_once(&there, probe, role, &name, Some(may)).await });
            Self { domain: host.to_owned(), context, go, seen }
        })
    }
}

/// Something that is under way, and ends when nobody wants it any more.
struct Early<T> {
    task: JoinSet<T>,
    known: Option<T>,
}

impl<T: Send + 'static> Early<T> {
    fn new(work: impl Future<Output = T> + Send + 'static) -> Self {
        let mut task = JoinSet::new();
        task.spawn(work);
        Self { task, known: None }
    }

    /// Waits until it is there.
    async fn known(&mut self) -> Option<&T> {
        if self.known.is_none() {
            self.known = self.task.join_next().await.and_then(Result::ok);
        }
        self.known.as_ref()
    }

    async fn get(mut self) -> Option<T> {
        self.known().await;
        self.known
    }
}
