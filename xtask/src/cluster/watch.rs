//! `cluster status --watch` on a terminal: the whole screen, until q or ctrl-c.
//!
//! The terminal is put back however it ends, by an error, a signal or a panic too.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use ratatui::DefaultTerminal;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use tokio::sync::mpsc;

use super::panel::{self, Panel};
use super::{fault, look};
use crate::engine::Engine;
use crate::paths::Exit;

/// The pause between two looks; each asks every node once.
const PAUSE: Duration = Duration::from_millis(800);
/// Keys on their way; a person is slower.
const KEYS: usize = 16;

/// The screen; put back when dropped.
struct Screen {
    terminal: DefaultTerminal,
}

impl Screen {
    fn new() -> std::io::Result<Screen> {
        Ok(Screen { terminal: ratatui::try_init()? })
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

/// Watches until the user has seen enough; the exit code tells how the cluster was at the end.
///
/// # Errors
/// No such cluster at the beginning, or the terminal cannot be taken.
pub(super) async fn watch(engine: &Engine, cluster: &str) -> anyhow::Result<ExitCode> {
    let mut panel = Panel { view: None, trouble: None, faults: Vec::new(), at: String::new() };
    refresh(engine, cluster, &mut panel).await?;
    let mut screen = Screen::new()?;
    let mut keys = keyboard();
    let mut next = Box::pin(tokio::time::sleep(PAUSE));
    loop {
        screen.terminal.draw(|frame| panel::draw(frame, cluster, &panel))?;
        tokio::select! {
            event = keys.recv() => match event {
                Some(Event::Key(key)) if ends(key) => break,
                // A terminal that is gone shows nothing any more.
                None => break,
                Some(_) => {}
            },
            () = &mut next => {
                // A cluster that goes away while it is watched is something to see.
                if let Err(failure) = refresh(engine, cluster, &mut panel).await {
                    panel.view = None;
                    panel.trouble = Some(format!("{failure:#}"));
                }
                next = Box::pin(tokio::time::sleep(PAUSE));
            }
        }
    }
    drop(screen);
    let healthy = panel.view.is_some_and(|view| view.healthy());
    Ok(ExitCode::from(if healthy { 0 } else { Exit::FAILED }))
}

async fn refresh(engine: &Engine, cluster: &str, panel: &mut Panel) -> anyhow::Result<()> {
    let ours = look::cluster(engine, cluster).await?;
    let (view, faults) =
        tokio::join!(look::view(engine, cluster, &ours), fault::lines(engine, cluster));
    panel.faults = faults?;
    panel.view = Some(view);
    panel.trouble = None;
    let now = humantime::format_rfc3339_seconds(SystemTime::now()).to_string();
    panel.at = now.get(11..19).unwrap_or_default().to_owned() + " UTC";
    Ok(())
}

fn ends(key: KeyEvent) -> bool {
    let control = key.modifiers.contains(KeyModifiers::CONTROL);
    match key.code {
        KeyCode::Char('q') | KeyCode::Esc => true,
        KeyCode::Char('c') => control,
        _ => false,
    }
}

/// What is typed, and changes of size, read by a thread that nobody waits for: a read of a terminal
/// cannot be given up.
fn keyboard() -> mpsc::Receiver<Event> {
    let (sender, keys) = mpsc::channel(KEYS);
    std::thread::spawn(move || {
        while let Ok(event) = event::read() {
            if sender.blocking_send(event).is_err() {
                return;
            }
        }
    });
    keys
}
