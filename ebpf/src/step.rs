//! How a packet's handling goes on. Every stage returns the next step to the one place that takes them (`slow.rs`): the
//! kernel allows eight nested calls, and few bytes of stack in all.

/// The next step.
#[repr(i32)]
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// Done: the packet goes on to the next program (`TCX_NEXT`).
    Pass = -1,
    /// Done: the packet is dropped (`TC_ACT_SHOT`).
    Drop = 2,
    /// Look for its flow.
    LookUp = 16,
    /// An ICMP error: look for the flow that it quotes.
    IcmpError,
    /// Make a flow entry, with the judgement.
    Open,
    /// Refuse it, with the judgement.
    Refuse,
    /// Refuse it where the endpoint is isolated in this direction; elsewhere it passes and the ledger counts it.
    RefuseIfIsolated,
    /// Count it in the ledger under the judgement's reason, and pass or drop it by the judgement.
    Ledger,
}
