//! The applications' client metadata documents, fetched from here per address: a document that is
//! dead for everybody is the application's fault.

use std::{net::IpAddr, sync::Arc};

use pdsdoctor_probes::{
    fact::{ProbeName, Role},
    http_fact::{Content, HttpPurpose},
    limits,
    outside::{
        fetch::{self, Opened},
        tcp,
    },
};
use tokio::{sync::watch, task::JoinSet, time::Instant};
use url::Url;

use super::{Context, addresses::addresses};

/// How many documents are examined: each costs two PARs at each side, and eight per side are the
/// most a run may send (`oauth::PARS`).
pub(super) const DOCUMENTS: usize = 3;

/// How many PARs each PDS is sent about one.
pub(super) const PARS_PER_CLIENT: usize = 2;

/// How many addresses of a document's host are tried: two of each family show what there is to show.
const ADDRESSES: usize = 4;

/// What a request needs to know of a document.
#[derive(Clone, Debug)]
pub(super) struct Document {
    /// The scope the application asks for.
    pub(super) scope: Option<String>,
    /// Where the application wants its users back.
    pub(super) redirect_uri: Option<String>,
}

/// A document that is being looked at.
pub(super) struct Client {
    /// Its address, which is the `client_id`.
    pub(super) id: String,
    known: watch::Receiver<Option<Option<Document>>>,
}

impl Client {
    /// Waits until the document was read (`Some`) or turned out to be unreadable (`None`).
    pub(super) async fn document(&self) -> Option<Document> {
        let mut known = self.known.clone();
        match known.wait_for(Option::is_some).await {
            Ok(document) => document.clone().flatten(),
            Err(_) => None,
        }
    }
}

/// All documents of a run.
pub(super) struct Clients {
    /// In the order given.
    pub(super) all: Vec<Client>,
    tasks: tokio::sync::Mutex<JoinSet<()>>,
}

impl Clients {
    /// Starts to fetch them.
    pub(super) fn start(context: &Arc<Context>) -> Self {
        let options = &context.options;
        let mut tasks = JoinSet::new();
        let mut all = Vec::new();
        if options.no_third_party && !options.client_ids_given {
            context.net.not_measured(
                ProbeName::ClientDocument,
                "--no-third-party: no application was named",
                "--client-id URL",
            );
            return Self { all, tasks: tasks.into() };
        }
        for (index, id) in options.client_ids.iter().enumerate() {
            if index == DOCUMENTS {
                context.net.not_measured(
                    ProbeName::ClientDocument,
                    &format!("only {DOCUMENTS} applications are examined in one run"),
                    "another run with the rest",
                );
                break;
            }
            let (to, known) = watch::channel(None);
            all.push(Client { id: id.clone(), known });
            let (context, id) = (Arc::clone(context), id.clone());
            tasks.spawn(async move {
                if context.measures(ProbeName::ClientDocument) {
                    read(&context, &id, &to).await;
                }
                to.send_if_modified(|known| {
                    known.is_none() && {
                        *known = Some(None);
                        true
                    }
                });
            });
        }
        Self { all, tasks: tasks.into() }
    }

    /// Waits until every address has answered or failed.
    pub(super) async fn finish(&self) {
        let mut tasks = self.tasks.lock().await;
        while tasks.join_next().await.is_some() {}
    }
}

async fn read(context: &Arc<Context>, id: &str, to: &watch::Sender<Option<Option<Document>>>) {
    let Some((host, port)) = https_host(id) else {
        context.net.not_measured(
            ProbeName::ClientDocument,
            &format!("{id} is not an https address"),
            "the https address of a client metadata document",
        );
        return;
    };
    let mut addrs = addresses(context, ProbeName::ClientDocument, Role::Client, &host, port);
    let mut tasks = JoinSet::new();
    let mut tried = 0;
    while let Some(addr) = addrs.recv().await {
        if !context.can_try(addr) || tried == ADDRESSES {
            continue;
        }
        tried += 1;
        let (context, id, host) = (Arc::clone(context), id.to_owned(), host.clone());
        tasks.spawn(async move { read_at(&context, &id, &host, port, addr).await });
        // Finished ones are handed on while others are still being resolved.
        while let Some(done) = tasks.try_join_next() {
            hand_on(to, done.ok().flatten());
        }
    }
    while let Some(done) = tasks.join_next().await {
        hand_on(to, done.ok().flatten());
    }
}

fn hand_on(to: &watch::Sender<Option<Option<Document>>>, document: Option<Document>) {
    if let Some(document) = document {
        to.send_if_modified(|known| {
            known.is_none() && {
                *known = Some(Some(document));
                true
            }
        });
    }
}

async fn read_at(context: &Context, id: &str, host: &str, port: u16, addr: IpAddr) -> Option<Document> {
    let net = &context.net;
    // The connect is a fact of its own: its time is the distance, which an exchange would blur.
    let begun = Instant::now();
    let connection = tcp::connect(net, ProbeName::ClientDocument, Role::Client, host, addr, port).await.ok()?;
    let opened = Opened::connected(connection, host, begun.elapsed());
    let request = fetch::Request {
        role: Role::Client,
        purpose: HttpPurpose::ClientDocument,
        url: id,
        addr,
        limit: limits::FETCH,
    };
    let fact = fetch::get_over(net, ProbeName::ClientDocument, &request, opened).await;
    if !fact.is_expected() {
        return None;
    }
    let Some(Content::ClientDocument { scope, redirect_uris, .. }) = fact.content else { return None };
    Some(Document {
        scope: scope.map(|scope| scope.to_string()),
        redirect_uri: redirect_uris.first().map(ToString::to_string),
    })
}

/// Host and port of an https address without credentials.
pub(super) fn https_host(address: &str) -> Option<(String, u16)> {
    let url = Url::parse(address).ok()?;
    if url.scheme() != "https" || !url.username().is_empty() || url.password().is_some() {
        return None;
    }
    let host = url.host_str()?.trim_start_matches('[').trim_end_matches(']').trim_end_matches('.');
    Some((host.to_ascii_lowercase(), url.port().unwrap_or(443)))
}

/// The host of an https address at the usual port, the only one that a PDS fetches from.
pub(super) fn usual_host(address: &str) -> Option<String> {
    https_host(address).filter(|(_, port)| *port == 443).map(|(host, _)| host)
}
