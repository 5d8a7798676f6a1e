//! Answers on stdout.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use weir_flow::text::{Color, NodeName, Style, compact, lost_line, table};
use weir_flow::{Item, Timestamp, hubble};
use weir_proto::flow::{LostEvent, LostEventSource};
use weir_proto::observer::GetFlowsResponse;
use weir_proto::observer::get_flows_response::ResponseTypes;

use crate::args::{ColourArg, ObserveArgs, OutputArg};

/// Writes answers in the form that was asked for.
pub(super) struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    output: OutputArg,
    style: Style,
    /// A line is seen when it is written.
    is_live: bool,
    /// Rows of a table, which is written at the end.
    rows: Vec<Item>,
}

impl Printer {
    pub(super) fn new(args: &ObserveArgs) -> Self {
        let stdout = io::stdout().lock();
        let coloured = match args.color {
            ColourArg::Always => true,
            ColourArg::Never => false,
            ColourArg::Auto => stdout.is_terminal() && std::env::var_os("NO_COLOR").is_none(),
        };
        let style = Style {
            color: if coloured { Color::Ansi } else { Color::Plain },
            node: NodeName::Shown,
        };
        Self {
            is_live: args.follow || stdout.is_terminal(),
            out: BufWriter::new(stdout),
            output: args.output,
            style,
            rows: Vec::new(),
        }
    }

    /// # Errors
    /// If stdout cannot be written.
    pub(super) fn print(&mut self, response: GetFlowsResponse) -> io::Result<()> {
        if self.output == OutputArg::Json {
            serde_json::to_writer(&mut self.out, &response)?;
            self.out.write_all(b"\n")?;
        } else {
            self.print_text(response)?;
        }
        if self.is_live {
            self.out.flush()
        } else {
            Ok(())
        }
    }

    fn print_text(&mut self, response: GetFlowsResponse) -> io::Result<()> {
        match response.response_types {
            Some(ResponseTypes::Flow(flow)) => match hubble::from_flow(&flow) {
                Ok(record) if self.output == OutputArg::Table => {
                    self.rows.push(Item::Flow(record));
                    Ok(())
                }
                Ok(record) => {
                    let line = compact(&Item::Flow(record), self.style);
                    writeln!(self.out, "{line}")
                }
                Err(error) => {
                    tracing::warn!(%error, uuid = flow.uuid, "cannot show a flow; -o json shows it as it is");
                    Ok(())
                }
            },
            Some(ResponseTypes::LostEvents(lost)) => {
                let line = lost_events(&lost, self.style);
                writeln!(self.out, "{line}")
            }
            Some(ResponseTypes::NodeStatus(status)) => {
                tracing::info!(
                    nodes = status.node_names.join(","),
                    message = status.message,
                    "node status"
                );
                Ok(())
            }
            None => Ok(()),
        }
    }

    /// Writes what is left.
    ///
    /// # Errors
    /// If stdout cannot be written.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        if self.output == OutputArg::Table {
            self.out
                .write_all(table(&self.rows, self.style).as_bytes())?;
            self.rows.clear();
        }
        self.out.flush()
    }
}

fn lost_events(lost: &LostEvent, style: Style) -> String {
    let source = LostEventSource::try_from(lost.source).unwrap_or_default();
    let span = lost.first.as_ref().zip(lost.last.as_ref());
    let span = span.map(|(first, last)| (Timestamp::from(first), Timestamp::from(last)));
    lost_line(source.as_str_name(), lost.num_events_lost, span, style)
}
