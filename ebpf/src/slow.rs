//! The way of every packet that is not simply one more of its flow.

use crate::attempt::Attempt;
use crate::context::Context;
use crate::create;
use crate::deny;
use crate::diagnostics::diagnose;
use crate::family::Family;
use crate::hit;
use crate::icmp;
use crate::irregular;
use crate::judge::Judgement;
use crate::ledger;
use crate::miss;
use crate::scratch;
use crate::step::Step;
use weir_datapath::abi::Flow;

/// A packet whose headers were read, with its flow entry or null.
#[inline(never)]
pub(crate) fn usual<F: Family>(cx: &Context, a: &Attempt<F>, flow: *mut Flow) -> i32 {
    let Some(judgement) = scratch::judgement() else {
        return Step::Drop as i32;
    };
    let step = by_flow(cx, a, flow, judgement);
    finish(cx, a, step, judgement)
}

/// A packet that the fast path could not read.
#[inline(never)]
pub(crate) fn unusual<F: Family>(cx: &Context) -> i32 {
    let (Some(judgement), Some(space)) = (scratch::judgement(), F::workspace()) else {
        return Step::Drop as i32;
    };
    // SAFETY: this CPU's working memory; nothing else refers to this part of it.
    let space = unsafe { &mut *space };
    space.attempt = Attempt::unparsed(cx.endpoint.id, F::Address::default(), 0);
    let mut step = irregular::prepare(cx, space, judgement);
    if step == Step::IcmpError {
        step = icmp::error(cx, space, judgement);
    }
    let a = &space.attempt;
    if step == Step::LookUp {
        let flow = F::flows()
            .get_ptr_mut(&a.key)
            .unwrap_or(core::ptr::null_mut());
        step = by_flow(cx, a, flow, judgement);
    }
    finish(cx, a, step, judgement)
}

#[inline(always)]
fn by_flow<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    flow: *mut Flow,
    judgement: &mut Judgement,
) -> Step {
    if flow.is_null() {
        return miss::miss(cx, a, judgement);
    }
    // SAFETY: an entry of the flow table.
    unsafe { hit::hit(cx, a, flow, judgement) }
}

/// Takes the remaining steps.
#[inline(always)]
pub(crate) fn finish<F: Family>(
    cx: &Context,
    a: &Attempt<F>,
    mut step: Step,
    judgement: &mut Judgement,
) -> i32 {
    if step == Step::Open {
        step = create::open(cx, a, judgement);
    }
    if step == Step::RefuseIfIsolated {
        judgement.allowed = !cx.isolated();
        step = if judgement.allowed {
            Step::Ledger
        } else {
            Step::Refuse
        };
    }
    if step == Step::Refuse {
        step = deny::refuse(cx, a, judgement);
    }
    match step {
        Step::Ledger => {
            diagnose!(trace, "in the ledger", cx, a, judgement);
            ledger::enter(cx, judgement)
        }
        step => step as i32,
    }
}
