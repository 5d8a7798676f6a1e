//! `weir policy check`: validation as the API server does it, and lint.

use std::process::ExitCode;

use weir_policy::lint;
use weir_policy::manifest::{self, Diagnostic, Severity};

use super::files;
use crate::args::{CheckArgs, FormatArg};
use crate::output;

/// Runs the check: 0 without errors, 1 with errors (with `--strict` also warnings), 2 if the input cannot be read.
///
/// # Errors
/// Input that cannot be read.
pub(super) fn run(args: &CheckArgs) -> anyhow::Result<ExitCode> {
    let sources = match files::read(&args.files) {
        Ok(sources) => sources,
        Err(error) => {
            output::error(&error);
            return Ok(ExitCode::from(2));
        }
    };
    let loaded = manifest::load(sources);
    let mut diagnostics = loaded.diagnostics.clone();
    diagnostics.extend(lint::lint(&loaded));
    diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
    match args.format {
        FormatArg::Text => output::text(&text(&diagnostics, loaded.objects.len()))?,
        FormatArg::Json => output::json(&lint::to_json(&diagnostics))?,
        FormatArg::Sarif => output::json(&lint::to_sarif(&diagnostics))?,
    }
    let worst = diagnostics
        .iter()
        .map(|diagnostic| diagnostic.severity)
        .min();
    let fails = worst == Some(Severity::Error) || args.strict && worst == Some(Severity::Warning);
    Ok(if fails {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn text(diagnostics: &[Diagnostic], objects: usize) -> String {
    let count = |severity| {
        diagnostics
            .iter()
            .filter(|diagnostic| diagnostic.severity == severity)
            .count()
    };
    let (errors, warnings) = (count(Severity::Error), count(Severity::Warning));
    format!(
        "{}{objects} objects, {errors} errors, {warnings} warnings\n",
        lint::to_text(diagnostics)
    )
}
