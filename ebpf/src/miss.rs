//! Packets without a flow entry: a new flow, a refusal, or something older than the programs.

use crate::addresses;
use crate::attempt::Attempt;
use crate::context::Context;
use crate::deny;
use crate::diagnostics::diagnose;
use crate::family::{Family, FlowKey};
use crate::judge::{self, Ask, Judgement, Origin};
use crate::step::Step;
use aya_ebpf::helpers::bpf_jiffies64;
use weir_datapath::abi::flow_state::BEFORE_ATTACH;
use weir_datapath::abi::{Reason, rule};
use weir_datapath::state::{self, Role};

/// A packet whose flow has no entry.
#[inline(never)]
pub(crate) fn miss<F: Family>(cx: &Context, a: &Attempt<F>, judgement: &mut Judgement) -> Step {
    let role = a.role();
    // A usual TCP opening was looked for there before its flow was (`ip.rs`).
    if role == Role::Opener && !a.is_tcp() && deny::repeated(cx, a) {
        diagnose!(trace, "denied by default again", cx, a);
        return Step::Drop;
    }
    if let Some(reason) = addresses::objection::<F>(cx, a.key.local(), a.key.protocol(), a.port) {
        return object(cx, reason, judgement);
    }
    match role {
        Role::Opener => new(cx, a, judgement),
        Role::Answer => answer(cx, a, judgement),
        Role::Midstream => midstream(cx, a, judgement),
    }
}

/// A packet that belongs to no flow and passes, unless its addresses are wrong.
#[inline(always)]
pub(crate) fn non_flow<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    reason: Reason,
    judgement: &mut Judgement,
) -> Step {
    match addresses::objection::<F>(cx, a.key.local(), a.key.protocol(), a.port) {
        Some(objection) => object(cx, objection, judgement),
        None => judgement.pass(reason),
    }
}

/// A source that is not the pod's is refused, isolated or not. A flooded packet makes no record: the ledger counts it.
#[inline(always)]
pub(crate) fn object(cx: &Context, reason: Reason, judgement: &mut Judgement) -> Step {
    judgement.refuse(cx, reason);
    if reason == Reason::SpoofedSource {
        return Step::Refuse;
    }
    judgement.allowed = !cx.isolated();
    Step::Ledger
}

/// Judged as the opening of a connection in the packet's direction.
#[inline(always)]
fn new<F: Family>(cx: &Context, a: &Attempt<F>, judgement: &mut Judgement) -> Step {
    let origin = judge::origin(cx);
    judge::judge::<F>(
        cx,
        &a.key,
        Ask {
            direction: cx.direction,
            origin,
            port: a.port,
        },
        judgement,
    );
    decide(
        cx,
        judgement,
        state::opened_by(cx.direction) | origin.bits(),
    )
}

/// A new flow, with these further state bits, or a refusal. In audit mode what would be refused is a flow too.
#[inline(always)]
fn decide(cx: &Context, judgement: &mut Judgement, bits: u32) -> Step {
    if !judgement.allowed && cx.enforces() {
        return Step::Refuse;
    }
    judgement.bits |= bits;
    Step::Open
}

/// Whether connections may still be older than the programs.
#[inline(always)]
fn in_grace(cx: &Context) -> bool {
    // SAFETY: the helper has no precondition.
    cx.endpoint.grace_until > unsafe { bpf_jiffies64() }
}

/// Judges the connection that this packet answers: opened by the other side, at the port that this one came from.
#[inline(always)]
fn judge_answered<F: Family>(cx: &Context, a: &Attempt<F>, judgement: &mut Judgement) {
    let direction = state::opposite(cx.direction);
    let ask = Ask {
        direction,
        origin: Origin::Forwarded,
        port: a.source_port(cx.direction),
    };
    judge::judge::<F>(cx, &a.key, ask, judgement);
}

/// SYN with ACK but no entry: it never opens. In the grace time its SYN may have been before us.
#[inline(never)]
fn answer<F: Family>(cx: &Context, a: &Attempt<F>, judgement: &mut Judgement) -> Step {
    if in_grace(cx) {
        judge_answered(cx, a, judgement);
        if judgement.allowed {
            return before_attach(judgement, state::opened_by(state::opposite(cx.direction)));
        }
    }
    judgement.refuse_if_isolated(cx, Reason::NotSyn)
}

/// TCP without SYN and without entry: in the grace time it passes if either direction allows it; after that it is a
/// new connection in its own direction.
#[inline(never)]
fn midstream<F: Family>(cx: &Context, a: &Attempt<F>, judgement: &mut Judgement) -> Step {
    if in_grace(cx) {
        judge_answered(cx, a, judgement);
        let answered = judgement.allowed;
        let origin = judge::origin(cx);
        judge::judge::<F>(
            cx,
            &a.key,
            Ask {
                direction: cx.direction,
                origin,
                port: a.port,
            },
            judgement,
        );
        if judgement.allowed {
            return before_attach(judgement, state::opened_by(cx.direction) | origin.bits());
        }
        if answered {
            judge_answered(cx, a, judgement);
            return before_attach(judgement, state::opened_by(state::opposite(cx.direction)));
        }
    }
    new(cx, a, judgement)
}

#[inline(always)]
fn before_attach(judgement: &mut Judgement, bits: u32) -> Step {
    judgement.reason = Reason::EstablishedBeforeAttach;
    judgement.rule = rule::ESTABLISHED_BEFORE_ATTACH;
    judgement.bits |= bits | BEFORE_ATTACH;
    Step::Open
}
