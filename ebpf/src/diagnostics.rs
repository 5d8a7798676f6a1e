//! Diagnostics for `weir collector --kernel-log`, through aya-log. The plain object has none: there, `diagnose!` expands
//! to nothing.
//!
//! Levels: `warn` something is full, `debug` a refusal or a changed verdict, `trace` everything that is no fast path.
//! Rules, sets and identities are the kernel's numbers; the collector's records have their names.
//!
//! A statement costs the verifier some thousand instructions each time that it is reached: with all of them the programs
//! take half of the million that it allows. What a counter tells already, such as a full ring, needs no statement.

/// Says what happened to a packet, with its verdict if there is one:
/// `diagnose!(debug, "denied", cx, attempt, judgement)` or `diagnose!(debug, "ahead of its first", cx, attempt)`.
#[cfg(not(feature = "log"))]
macro_rules! diagnose {
    ($level:ident, $what:literal, $cx:expr, $attempt:expr $(, $judgement:expr)?) => {{}};
}

// Every statement is a function of its own, never inlined: what it needs of the stack is free again afterwards.
#[cfg(feature = "log")]
macro_rules! diagnose {
    ($level:ident, $what:literal, $cx:expr, $attempt:expr) => {{
        #[inline(never)]
        fn say<F: $crate::family::Family>(
            cx: &$crate::context::Context,
            a: &$crate::attempt::Attempt<F>,
        ) {
            use $crate::diagnostics::{address, direction, TARGET};
            use $crate::family::FlowKey as _;
            aya_log_ebpf::$level!(
                cx,
                target: TARGET,
                "{}: endpoint {} {} local {:i} port {} remote {:i} port {} protocol {}",
                $what,
                cx.endpoint.id,
                direction(cx),
                address::<F>(a.key.local()),
                a.key.local_port(),
                address::<F>(a.key.remote()),
                a.key.remote_port(),
                a.key.protocol()
            );
        }
        say($cx, $attempt);
    }};
    ($level:ident, $what:literal, $cx:expr, $attempt:expr, $judgement:expr) => {{
        #[inline(never)]
        fn say<F: $crate::family::Family>(
            cx: &$crate::context::Context,
            a: &$crate::attempt::Attempt<F>,
            judgement: &$crate::judge::Judgement,
        ) {
            use $crate::diagnostics::{address, direction, reason, TARGET};
            use $crate::family::FlowKey as _;
            aya_log_ebpf::$level!(
                cx,
                target: TARGET,
                "{}: endpoint {} {} local {:i} port {} remote {:i} port {} protocol {} set {} identity {} rule {} epoch {} reason {}",
                $what,
                cx.endpoint.id,
                direction(cx),
                address::<F>(a.key.local()),
                a.key.local_port(),
                address::<F>(a.key.remote()),
                a.key.remote_port(),
                a.key.protocol(),
                judgement.set,
                judgement.identity,
                judgement.rule,
                cx.epoch,
                reason(judgement)
            );
        }
        say($cx, $attempt, $judgement);
    }};
}

pub(crate) use diagnose;

#[cfg(feature = "log")]
pub(crate) use shown::{TARGET, address, direction, reason};

/// What aya-log can carry of our types.
#[cfg(feature = "log")]
mod shown {
    use crate::context::Context;
    use crate::family::Family;
    use crate::judge::Judgement;
    use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
    use weir_datapath::abi::{Direction, REASON_LIMIT, Reason};
    use weir_datapath::address::Address as _;

    /// Where the lines come from, in the collector's log.
    pub(crate) const TARGET: &str = "weir_ebpf";

    /// A name, padded with spaces. All are of one length, so that the verifier knows it, and stand in one block without
    /// pointers, which the loader could not relocate.
    type Name<const N: usize> = [u8; N];

    /// As long as the longest reason.
    const REASON: usize = 25;
    const REASONS: usize = REASON_LIMIT as usize;
    const DIRECTION: usize = 7;

    static REASON_NAMES: [Name<REASON>; REASONS] = {
        let mut names = [[b' '; REASON]; REASONS];
        let mut i = 0;
        while i < Reason::ALL.len() {
            let reason = Reason::ALL[i];
            names[reason as usize] = padded(reason.as_str());
            i += 1;
        }
        names
    };
    static DIRECTION_NAMES: [Name<DIRECTION>; 2] = {
        let mut names = [[b' '; DIRECTION]; 2];
        names[Direction::Ingress as usize] = padded("ingress");
        names[Direction::Egress as usize] = padded("egress");
        names
    };

    /// Does not compile if the name is too long.
    const fn padded<const N: usize>(name: &str) -> Name<N> {
        let mut padded = [b' '; N];
        let mut i = 0;
        while i < name.len() {
            padded[i] = name.as_bytes()[i];
            i += 1;
        }
        padded
    }

    #[inline(always)]
    fn text<const N: usize>(name: &Name<N>) -> &str {
        // SAFETY: made from whole strings and spaces.
        unsafe { core::str::from_utf8_unchecked(name) }
    }

    /// One of the names. The compiler knows that the number is small enough, the verifier wants to see it.
    #[inline(always)]
    fn entry<const N: usize, const COUNT: usize>(
        names: &'static [Name<N>; COUNT],
        number: usize,
    ) -> &'static Name<N> {
        &names[core::hint::black_box(number) % COUNT]
    }

    /// The judgement's reason. Comes last in a line, for its trailing spaces; the reader cuts them.
    #[inline(always)]
    pub(crate) fn reason(judgement: &Judgement) -> &'static str {
        text(entry(&REASON_NAMES, judgement.reason as usize))
    }

    /// The packet's direction.
    #[inline(always)]
    pub(crate) fn direction(cx: &Context) -> &'static str {
        text(entry(&DIRECTION_NAMES, cx.direction as usize))
    }

    /// An address of either family.
    #[inline(always)]
    pub(crate) fn address<F: Family>(address: F::Address) -> IpAddr {
        let bytes = address.to_bytes();
        if F::NUMBER == 4 {
            let [a, b, c, d, ..] = bytes;
            IpAddr::V4(Ipv4Addr::new(a, b, c, d))
        } else {
            IpAddr::V6(Ipv6Addr::from_octets(bytes))
        }
    }
}
