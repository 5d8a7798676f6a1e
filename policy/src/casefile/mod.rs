//! Tables of expected verdicts: `from,to,protocol,port,ingress,egress,verdict`.
//!
//! `from` and `to` are `namespace/pod`, `namespace/service` or an address. `egress` is what the policies of the source
//! say, `ingress` what those of the destination say; an address that is named as such has no policies, its side is
//! `allow`. The port is the destination pod's, for a Service the Service's. A row holds for every address family that
//! both sides have.

mod resolve;
mod run;

use thiserror::Error;

pub use resolve::{Check, ResolveError, checks};
pub use run::{ModelRun, RowOutcome, SideOutcome};

use crate::explain::Party;
use crate::model::Protocol;

/// The first line of every table.
pub const HEADER: &str = "from,to,protocol,port,ingress,egress,verdict";

/// One row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Line in the file, from 1.
    pub line: usize,
    /// Who connects.
    pub from: Party,
    /// To whom.
    pub to: Party,
    /// Protocol.
    pub protocol: Protocol,
    /// Destination port.
    pub port: u16,
    /// What the destination's policies must say.
    pub ingress: Expect,
    /// What the source's policies must say.
    pub egress: Expect,
    /// Both together.
    pub verdict: Expect,
}

/// An expected verdict.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expect {
    /// The connection may be opened.
    Allow,
    /// It may not.
    Deny,
}

impl Expect {
    /// `allow` or `deny`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Allow => "allow",
            Self::Deny => "deny",
        }
    }

    /// The verdict of a judgement.
    pub const fn of(allowed: bool) -> Self {
        if allowed { Self::Allow } else { Self::Deny }
    }
}

/// Why a table cannot be read. Displayed as `file:line: message`.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{file}:{line}: {message}")]
pub struct CaseError {
    /// The file.
    pub file: String,
    /// Line, from 1.
    pub line: usize,
    /// What is wrong.
    pub message: String,
}

/// Reads a table. Empty lines and lines that begin with `#` are passed over.
///
/// # Errors
/// [`CaseError`] for the first line that is not as it must be.
pub fn parse(file: &str, text: &str) -> Result<Vec<Row>, CaseError> {
    let error = |line: usize, message: String| CaseError {
        file: file.to_owned(),
        line,
        message,
    };
    let mut lines = text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line.trim()))
        .filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    match lines.next() {
        Some((_, HEADER)) => {}
        Some((line, other)) => {
            return Err(error(
                line,
                format!("expected the header `{HEADER}`, got `{other}`"),
            ));
        }
        None => return Err(error(1, format!("empty; expected the header `{HEADER}`"))),
    }
    lines
        .map(|(line, text)| row(line, text).map_err(|message| error(line, message)))
        .collect()
}

fn row(line: usize, text: &str) -> Result<Row, String> {
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let [from, to, protocol, port, ingress, egress, verdict] = fields[..] else {
        return Err(format!("expected 7 fields, got {}", fields.len()));
    };
    let row = Row {
        line,
        from: from.parse()?,
        to: to.parse()?,
        protocol: Protocol::parse(&protocol.to_uppercase())
            .ok_or_else(|| format!("`{protocol}` is no protocol: tcp, udp or sctp"))?,
        port: port
            .parse()
            .ok()
            .filter(|port| *port != 0)
            .ok_or_else(|| format!("`{port}` is no port: 1 to 65535"))?,
        ingress: expect("ingress", ingress)?,
        egress: expect("egress", egress)?,
        verdict: expect("verdict", verdict)?,
    };
    let both = Expect::of(row.ingress == Expect::Allow && row.egress == Expect::Allow);
    if row.verdict != both {
        return Err(format!(
            "verdict is `{verdict}`, but ingress `{ingress}` and egress `{egress}` make `{}`",
            both.as_str()
        ));
    }
    Ok(row)
}

fn expect(column: &str, text: &str) -> Result<Expect, String> {
    match text {
        "allow" => Ok(Expect::Allow),
        "deny" => Ok(Expect::Deny),
        other => Err(format!("{column} is `{other}`: allow or deny")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_with_its_line_numbers() {
        let text = format!(
            "{HEADER}\n\n# a remark\nx/a,y/b,tcp,80,deny,allow,deny\n10.0.0.1,x/a,SCTP,1,allow,allow,allow\n"
        );
        let rows = parse("t.csv", &text).expect("valid");
        assert_eq!(rows.iter().map(|row| row.line).collect::<Vec<_>>(), [4, 5]);
        assert_eq!(rows[1].protocol, Protocol::Sctp);
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (row, message) in [
            (
                "x/a,y/b,tcp,80,deny,allow",
                "t.csv:2: expected 7 fields, got 6",
            ),
            (
                "x,y/b,tcp,80,deny,allow,deny",
                "t.csv:2: `x` is neither namespace/pod, namespace/service nor an address",
            ),
            (
                "x/a,y/b,icmp,80,deny,allow,deny",
                "t.csv:2: `icmp` is no protocol: tcp, udp or sctp",
            ),
            (
                "x/a,y/b,tcp,0,deny,allow,deny",
                "t.csv:2: `0` is no port: 1 to 65535",
            ),
            (
                "x/a,y/b,tcp,80,no,allow,deny",
                "t.csv:2: ingress is `no`: allow or deny",
            ),
            (
                "x/a,y/b,tcp,80,deny,allow,allow",
                "t.csv:2: verdict is `allow`, but ingress `deny` and egress `allow` make `deny`",
            ),
        ] {
            assert_eq!(
                parse("t.csv", &format!("{HEADER}\n{row}\n"))
                    .expect_err(row)
                    .to_string(),
                message
            );
        }
        assert!(parse("t.csv", "from,to\n").is_err());
    }
}
