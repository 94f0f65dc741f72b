//! The world around the program, as fast as it can be: the Graph API, a mail server, a service and a
//! bot, in threads of this process whose CPU time is counted apart.

use serde_json::{Value, json};
use std::collections::HashMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;

/// How the names of their threads begin.
pub const THREADS: &str = "stand-in";

/// What a code has; the mails about it begin with it.
const CODE_DIGITS: usize = 8;

/// Where they listen, and what came to them.
pub struct World {
    pub graph: SocketAddr,
    pub mail: SocketAddr,
    pub service: SocketAddr,
    pub bot: SocketAddr,
    /// Messages that the bot took.
    pub taken: Arc<AtomicU64>,
    post: Arc<Post>,
}

/// Who waits for what comes to a number or an address.
#[derive(Default)]
struct Post {
    waiting: Mutex<HashMap<String, mpsc::Sender<String>>>,
}

impl Post {
    fn deliver(&self, to: &str, text: &str) {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = waiting.get(to) {
            // Who has what they waited for listens no more.
            let _ = waiting.send(text.to_owned());
        }
    }
}

/// Somebody's letter box; taken down when dropped.
pub struct LetterBox {
    post: Arc<Post>,
    name: String,
    pub arrived: mpsc::Receiver<String>,
}

impl Drop for LetterBox {
    fn drop(&mut self) {
        let mut waiting = (self.post.waiting.lock()).unwrap_or_else(PoisonError::into_inner);
        waiting.remove(&self.name);
    }
}

impl World {
    pub fn start() -> io::Result<World> {
        let (post, taken) = (Arc::new(Post::default()), Arc::new(AtomicU64::new(0)));
        let (for_graph, for_mail, for_bot) =
            (Arc::clone(&post), Arc::clone(&post), Arc::clone(&taken));
        let sent = AtomicU64::new(0);
        Ok(World {
            graph: listen("graph", move |stream: &TcpStream| {
                serve(stream, |_, body| {
                    take_message(&for_graph, body);
                    let id = sent.fetch_add(1, Ordering::Relaxed);
                    format!(
                        r#"{{"messaging_product":"whatsapp","contacts":[],"messages":[{{"id":"wamid.out{id}"}}]}}"#
                    )
                })
            })?,
            mail: listen("mail", move |stream: &TcpStream| {
                take_mails(stream, &for_mail)
            })?,
            service: listen("service", |stream: &TcpStream| {
                serve(stream, answer_for_service)
            })?,
            bot: listen("bot", move |stream: &TcpStream| {
                serve(stream, |_, _| {
                    for_bot.fetch_add(1, Ordering::Relaxed);
                    "{}".to_owned()
                })
            })?,
            taken,
            post,
        })
    }

    /// From now on, what comes to this number (digits) or address.
    pub fn expect(&self, name: &str) -> LetterBox {
        let (sender, arrived) = mpsc::channel();
        let mut waiting = (self.post.waiting.lock()).unwrap_or_else(PoisonError::into_inner);
        waiting.insert(name.to_owned(), sender);
        LetterBox {
            post: Arc::clone(&self.post),
            name: name.to_owned(),
            arrived,
        }
    }
}

/// CPU time of all of them so far, in microseconds; to the nanosecond for each thread, because there
/// are many of them with little to do.
pub fn cpu_us() -> f64 {
    let Ok(tasks) = fs::read_dir("/proc/self/task") else {
        return f64::NAN;
    };
    let used = tasks.flatten().filter_map(|task| {
        let name = fs::read_to_string(task.path().join("comm")).ok()?;
        if !name.starts_with(THREADS) {
            return None;
        }
        let times = fs::read_to_string(task.path().join("schedstat")).ok()?;
        times.split(' ').next()?.parse::<f64>().ok()
    });
    used.sum::<f64>() / 1e3
}

fn listen(
    what: &str,
    converse: impl Fn(&TcpStream) -> Option<()> + Send + Sync + 'static,
) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (name, converse) = (format!("{THREADS}-{what}"), Arc::new(converse));
    let for_one = name.clone();
    let accept = move || {
        for stream in listener.incoming().flatten() {
            let converse = Arc::clone(&converse);
            // An answer is written whole, and nothing is to wait for what follows it.
            let _ = stream.set_nodelay(true);
            let started = thread::Builder::new()
                .name(for_one.clone())
                .spawn(move || converse(&stream));
            started.expect("a thread for a connection");
        }
    };
    thread::Builder::new().name(name).spawn(accept)?;
    Ok(address)
}

/// Answers each request with 200 and what `answer` makes of its first line and its body.
fn serve(stream: &TcpStream, answer: impl Fn(&str, &[u8]) -> String) -> Option<()> {
    let mut reader = BufReader::with_capacity(16 * 1024, stream);
    let (mut first, mut line, mut body) = (String::new(), String::new(), Vec::new());
    loop {
        first.clear();
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        let mut length = 0;
        loop {
            line.clear();
            if reader.read_line(&mut line).ok()? == 0 {
                return None;
            }
            if line == "\r\n" {
                break;
            }
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        body.resize(length, 0);
        reader.read_exact(&mut body).ok()?;
        let json = answer(&first, &body);
        let whole = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{json}",
            json.len()
        );
        (&mut &*stream).write_all(whole.as_bytes()).ok()?;
    }
}

/// Tells whoever waits for messages to this number.
fn take_message(post: &Post, body: &[u8]) {
    let Ok(body) = serde_json::from_slice::<Value>(body) else {
        return;
    };
    let to = body["to"].as_str().or_else(|| body["recipient"].as_str());
    let text =
        (body["text"]["body"].as_str()).or_else(|| body["interactive"]["body"]["text"].as_str());
    if let (Some(to), Some(text)) = (to, text) {
        post.deliver(to.trim_start_matches('+'), text);
    }
}

/// A service that knows everybody who has an address in `people.example`, and every password.
fn answer_for_service(first: &str, body: &[u8]) -> String {
    let body: Value = serde_json::from_slice(body).unwrap_or_default();
    if first.contains("issue-token") {
        let token = "x".repeat(600);
        return json!({"token": token, "tokenType": "Bearer", "expiresIn": 3_600}).to_string();
    }
    let email = (body["email"].as_str().or_else(|| body["user"].as_str())).unwrap_or_default();
    let id = email.split('@').next().unwrap_or_default();
    json!({"users": [{
        "id": id,
        "name": "Ana Pérez",
        "email": email,
        "company": {"id": "c-1", "name": "Panadería La Espiga"},
    }]})
    .to_string()
}

/// One SMTP session; whoever waits for a mail gets its code.
fn take_mails(stream: &TcpStream, post: &Post) -> Option<()> {
    let say = |line: &str| (&mut &*stream).write_all(line.as_bytes()).ok();
    let mut reader = BufReader::with_capacity(16 * 1024, stream);
    let (mut line, mut to) = (String::new(), String::new());
    say("220 stand-in.example ESMTP\r\n")?;
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let verb = line.get(..4).unwrap_or_default().to_ascii_uppercase();
        match verb.as_str() {
            "EHLO" => say("250-stand-in.example\r\n250-8BITMIME\r\n250 ENHANCEDSTATUSCODES\r\n")?,
            "RCPT" => {
                let address = line.split('<').nth(1)?.split('>').next()?;
                to = address.to_owned();
                say("250 2.1.5 ok\r\n")?;
            }
            "DATA" => {
                say("354 go on\r\n")?;
                let mut code = String::new();
                loop {
                    line.clear();
                    if reader.read_line(&mut line).ok()? == 0 {
                        return None;
                    }
                    if line == ".\r\n" {
                        break;
                    }
                    let words = line.strip_prefix("Subject: ").unwrap_or(&line);
                    let digits = words.bytes().take_while(u8::is_ascii_digit).count();
                    if digits >= CODE_DIGITS && code.is_empty() {
                        code = words[..digits].to_owned();
                    }
                }
                say("250 2.0.0 taken\r\n")?;
                post.deliver(&to, &code);
            }
            "QUIT" => {
                say("221 2.0.0 bye\r\n")?;
                return None;
            }
            _ => say("250 2.0.0 ok\r\n")?,
        }
    }
}
