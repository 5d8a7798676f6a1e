//! The thread that owns the endpoints, the policy maps and the programs. It stays in the network namespace in which it
//! was started; attaching blocks it for some ten milliseconds at a time, which is why it is nobody else's.

use std::collections::{BTreeMap, BTreeSet, HashSet, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Interval, MissedTickBehavior, interval};
use tracing::{debug, warn};
use weir_datapath::abi::maps;
use weir_policy::tables::{Tables, Update};

use super::claim::{Attaching, Claim, ClaimError};
use super::manager::{Manager, Policy};
use super::mapping::LocalPod;
use super::netlink::{Heard, Netlink, NetlinkError};
use super::process::Looks;
use super::registry::Registry;
use super::timing::Timing;
use super::view::{EndpointEvent, EndpointInfo, EndpointView};
use super::{EndpointsConfig, EndpointsError, adopt};
use crate::apply::{Applied, Applier, ApplyError};
use crate::config::Scope;
use crate::kernel::{Attacher, KernelClock, MapWriter as _, PolicyMaps};
use crate::state::StateDir;
use crate::telemetry::OwnMetrics;

const COMMANDS: usize = 64;
const EVENTS: usize = 1024;
const TICK: Duration = Duration::from_millis(500);
/// Between two looks whether the programs are in place.
const CHECK: Duration = Duration::from_secs(5);
/// Between two whole dumps, in case a message was lost unnoticed.
const DUMP: Duration = Duration::from_secs(30);
/// Without anything to do for this long, the thread has heard all that there was.
const PAUSE: Duration = Duration::from_millis(1);

/// What the endpoints need of the kernel side.
pub struct Parts {
    /// Puts programs on interfaces.
    pub attacher: Attacher,
    /// The maps that carry policy and endpoints.
    pub policy: PolicyMaps,
    /// Kernel time.
    pub clock: Arc<KernelClock>,
    /// How the collector fares.
    pub own: OwnMetrics,
}

/// How full the policy maps are: entries and capacity by name.
pub type MapFill = BTreeMap<&'static str, (u32, u32)>;

/// The endpoints of this node, run by a thread of their own until this handle is dropped. Enforcement goes on without.
pub struct Endpoints {
    /// All endpoints.
    pub view: EndpointView,
    /// What an earlier run left in force: what the compiler starts from.
    pub adopted: Arc<Tables>,
    /// The policy epoch that an earlier run left; 0 if there was none.
    pub adopted_epoch: u32,
    /// The addresses of this node's own interfaces; none in sidecar mode, where they are the pod's.
    pub local_addresses: watch::Receiver<Arc<BTreeSet<IpAddr>>>,
    commands: mpsc::Sender<Command>,
    events: broadcast::Sender<EndpointEvent>,
}

pub(super) enum Command {
    Pods(Vec<LocalPod>, Instant),
    Apply(Box<Update>, oneshot::Sender<Result<Applied, ApplyError>>),
    Fill(oneshot::Sender<MapFill>),
    Attach(
        Claim,
        oneshot::Sender<Result<Arc<EndpointInfo>, ClaimError>>,
    ),
}

impl Endpoints {
    /// Adopts what an earlier run left, and begins to watch this thread's network namespace.
    ///
    /// # Errors
    ///
    /// [`EndpointsError`].
    pub async fn start(
        parts: Parts,
        state: StateDir,
        config: EndpointsConfig,
    ) -> Result<Self, EndpointsError> {
        let (ready, started) = oneshot::channel();
        let thread = thread::Builder::new().name("endpoints".to_owned());
        let body = move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            match runtime {
                Ok(runtime) => runtime.block_on(run(parts, state, config, ready)),
                Err(error) => drop(ready.send(Err(EndpointsError::Thread(error.to_string())))),
            }
        };
        thread
            .spawn(body)
            .map_err(|error| EndpointsError::Thread(error.to_string()))?;
        started.await.map_err(|_| ended())?
    }

    /// Tells which pods this node has, and since when that is known. The first list must be complete: until it comes,
    /// nothing that is in force is changed.
    ///
    /// # Errors
    ///
    /// [`EndpointsError::Thread`] if the thread has ended.
    pub async fn set_pods(
        &self,
        pods: Vec<LocalPod>,
        since: Instant,
    ) -> Result<(), EndpointsError> {
        self.commands
            .send(Command::Pods(pods, since))
            .await
            .map_err(|_| ended())
    }

    /// Brings an update into force. The catalogue that names its rules, sets and identities must be on disk.
    ///
    /// # Errors
    ///
    /// [`EndpointsError::Thread`] if the thread has ended; [`ApplyError`] if the last state stays in force.
    pub async fn apply(
        &self,
        update: Update,
    ) -> Result<Result<Applied, ApplyError>, EndpointsError> {
        let (done, result) = oneshot::channel();
        self.commands
            .send(Command::Apply(Box::new(update), done))
            .await
            .map_err(|_| ended())?;
        result.await.map_err(|_| ended())
    }

    /// How full the policy maps are.
    ///
    /// # Errors
    ///
    /// [`EndpointsError::Thread`] if the thread has ended.
    pub async fn fill(&self) -> Result<MapFill, EndpointsError> {
        let (done, result) = oneshot::channel();
        self.commands
            .send(Command::Fill(done))
            .await
            .map_err(|_| ended())?;
        result.await.map_err(|_| ended())
    }

    /// A way to have an interface carry the programs at once. It does not keep the thread running.
    pub fn attaching(&self) -> Attaching {
        Attaching::new(self.commands.downgrade())
    }

    /// What happens from now on.
    pub fn events(&self) -> broadcast::Receiver<EndpointEvent> {
        self.events.subscribe()
    }
}

fn ended() -> EndpointsError {
    EndpointsError::Thread("it has ended".to_owned())
}

impl From<NetlinkError> for EndpointsError {
    fn from(error: NetlinkError) -> Self {
        Self::Netlink(error.to_string())
    }
}

/// The thread's whole life.
async fn run(
    parts: Parts,
    state: StateDir,
    config: EndpointsConfig,
    ready: oneshot::Sender<Result<Endpoints, EndpointsError>>,
) {
    match Actor::start(parts, state, config).await {
        Ok((mut actor, endpoints)) => {
            if ready.send(Ok(endpoints)).is_ok() {
                actor.serve().await;
            }
        }
        Err(error) => drop(ready.send(Err(error))),
    }
}

/// What the thread does next.
enum Next {
    Command(Command),
    Heard(Heard),
    Tick,
    Check,
    Dump,
}

struct Actor {
    manager: Manager,
    netlink: Netlink,
    commands: mpsc::Receiver<Command>,
    local_addresses: watch::Sender<Arc<BTreeSet<IpAddr>>>,
    looks: Looks,
}

impl Actor {
    async fn start(
        parts: Parts,
        state: StateDir,
        config: EndpointsConfig,
    ) -> Result<(Self, Endpoints), EndpointsError> {
        let registry = Registry::open(state)?;
        let netlink = Netlink::open()?;
        let network = netlink.dump().await?;
        let dump = parts.policy.dump()?;
        let pods = adopt::pods_by_slot(registry.known());
        let (applier, adopted) = Applier::adopt(parts.policy, &dump, &pods);
        let adopted_epoch = applier.epoch();
        let (events, _) = broadcast::channel(EVENTS);
        let view = EndpointView::default();
        let mut manager = Manager {
            config,
            applier,
            attacher: parts.attacher,
            clock: parts.clock,
            registry,
            network: network.clone(),
            interfaces: BTreeMap::new(),
            uplinks: HashSet::new(),
            policy: Policy::Adopted,
            pods: None,
            view: view.clone(),
            events: events.clone(),
            gone: VecDeque::new(),
            claims: BTreeMap::new(),
            timing: Timing::new(parts.own),
        };
        manager.adopt(&dump)?;
        manager.on_dump(network);
        let (sender, commands) = mpsc::channel(COMMANDS);
        let (local_addresses, receiver) = watch::channel(Arc::new(BTreeSet::new()));
        let actor = Self {
            manager,
            netlink,
            commands,
            local_addresses,
            looks: Looks::default(),
        };
        actor.publish_addresses();
        let endpoints = Endpoints {
            view,
            adopted: Arc::new(adopted),
            adopted_epoch,
            local_addresses: receiver,
            commands: sender,
            events,
        };
        Ok((actor, endpoints))
    }

    /// Until the handle is dropped.
    async fn serve(&mut self) {
        let (mut tick, mut check, mut dump) = (every(TICK), every(CHECK), every(DUMP));
        let mut busy = Instant::now();
        loop {
            let idle = Instant::now();
            let next = tokio::select! {
                command = self.commands.recv() => match command {
                    Some(command) => Next::Command(command),
                    None => return,
                },
                heard = self.netlink.next() => Next::Heard(heard),
                _ = tick.tick() => Next::Tick,
                _ = check.tick() => Next::Check,
                _ = dump.tick() => Next::Dump,
            };
            // What comes without a pause may have waited in the socket while an interface was being attached.
            if idle.elapsed() > PAUSE {
                busy = Instant::now();
            }
            self.manager.timing.hear(Some(busy));
            match next {
                Next::Command(command) => self.obey(command).await,
                Next::Heard(heard) => self.hear(heard).await,
                Next::Tick => self.on_tick().await,
                Next::Check => self.manager.check_presence(),
                Next::Dump => self.refresh().await,
            }
        }
    }

    async fn obey(&mut self, command: Command) {
        match command {
            Command::Pods(pods, since) => self.manager.on_pods(pods, since),
            Command::Apply(update, done) => drop(done.send(self.manager.on_update(&update))),
            Command::Fill(done) => drop(done.send(self.fill())),
            Command::Attach(claim, done) => drop(done.send(self.attach(claim).await)),
        }
    }

    /// The messages about a new interface, and about its new name, may still be on their way: it is looked up.
    async fn attach(&mut self, claim: Claim) -> Result<Arc<EndpointInfo>, ClaimError> {
        let link = self.netlink.link(claim.ifindex).await;
        if let Some(link) = link.map_err(|error| ClaimError::Look(error.to_string()))? {
            let change = self.manager.network.hear(&link);
            self.manager.on_change(change);
        }
        self.manager.on_claim(claim)
    }

    async fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Message(message) => {
                let change = self.manager.network.hear(&message);
                self.manager.on_change(change);
                self.publish_addresses();
            }
            Heard::Lost => {
                warn!("changes of the network were lost: reading it anew");
                match Netlink::open() {
                    Ok(netlink) => self.netlink = netlink,
                    Err(error) => {
                        warn!(%error, "cannot watch the network; trying again");
                        tokio::time::sleep(TICK).await;
                    }
                }
                self.refresh().await;
            }
        }
    }

    async fn refresh(&mut self) {
        self.manager.timing.hear(None);
        match self.netlink.dump().await {
            Ok(network) => {
                self.manager.on_dump(network);
                self.publish_addresses();
            }
            Err(error) => warn!(%error, "cannot read the network; trying again"),
        }
    }

    async fn on_tick(&mut self) {
        self.manager.on_tick();
        for (interface, address) in self.manager.questions() {
            if let Err(error) = self.netlink.solicit(interface, address).await {
                debug!(interface, %address, %error, "cannot ask for a pod's address");
            }
        }
        self.looks.look(&mut self.manager, &self.netlink).await;
    }

    fn publish_addresses(&self) {
        if self.manager.config.scope != Scope::Node {
            return;
        }
        let addresses = self.manager.network.local_addresses();
        self.local_addresses.send_if_modified(|current| {
            let changed = **current != addresses;
            if changed {
                *current = Arc::new(addresses);
            }
            changed
        });
    }

    fn fill(&self) -> MapFill {
        const FILLED: [&str; 8] = [
            maps::PEERS4,
            maps::PEERS6,
            maps::NETWORKS4,
            maps::NETWORKS6,
            maps::FRONTENDS4,
            maps::FRONTENDS6,
            maps::VERDICTS,
            maps::PORTS,
        ];
        let applier = &self.manager.applier;
        FILLED
            .into_iter()
            .map(|map| (map, (applier.entries(map), applier.writer().capacity(map))))
            .collect()
    }
}

fn every(period: Duration) -> Interval {
    let mut interval = interval(period);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    interval
}
