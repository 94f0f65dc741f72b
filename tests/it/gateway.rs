//! The real program in front of a bot: what the bot gets, in which bytes, in which order, and what
//! happens when it does not want it (design, section 5.3).

use crate::house::other_than;
use crate::keys::part;
use crate::outside::{
    ANA, APP_SECRET, BEA, OLD_APP_SECRET, PHONE_NUMBER_ID, Portero, Reply, Request, Server,
    VERIFY_TOKEN, WELCOME, World, ask, envelope, eventually, message, signature, status_of, text,
    unix_seconds, webhook, webhook_signature,
};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const ANAS: &str = "573001234567";
const BEAS: &str = "5491155550034";
const NOBODYS: &str = "16505551234";

/// What a bot does with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mood {
    Takes,
    Says(u16),
    SaysHtml,
    /// Yes, with two megabytes behind it.
    SaysMuch,
    HangsUp,
    IsSilent,
}

#[derive(Default)]
struct BotState {
    /// All that came, taken or not.
    came: Vec<Request>,
    /// What was taken.
    taken: Vec<Request>,
    /// For requests that have these words in them, each time until it is empty.
    moods: Vec<(String, Vec<Mood>)>,
}

/// A bot that writes down what it gets.
struct Bot {
    server: Server,
    state: Arc<Mutex<BotState>>,
}

impl Bot {
    fn start() -> Bot {
        let state = Arc::new(Mutex::new(BotState::default()));
        let answering = Arc::clone(&state);
        let server = Server::start(move |request| {
            let mut state = answering.lock().unwrap();
            state.came.push(request.clone());
            let body = String::from_utf8_lossy(&request.body).into_owned();
            let mood = (state.moods.iter_mut())
                .filter(|(words, _)| body.contains(words.as_str()))
                .find_map(|(_, moods)| (!moods.is_empty()).then(|| moods.remove(0)))
                .unwrap_or(Mood::Takes);
            match mood {
                Mood::Takes => {
                    state.taken.push(request.clone());
                    Reply::Json(200, json!({}))
                }
                Mood::Says(status) => Reply::Json(status, json!({"error": "no"})),
                // Meta looks at the status alone.
                Mood::SaysHtml => {
                    state.taken.push(request.clone());
                    Reply::Html(200, "<h1>It works!</h1>")
                }
                Mood::SaysMuch => {
                    state.taken.push(request.clone());
                    Reply::Json(200, json!("x".repeat(2 << 20)))
                }
                Mood::HangsUp => Reply::HangUp,
                Mood::IsSilent => Reply::Silence,
            }
        });
        Bot { server, state }
    }

    fn behave(&self, words: &str, moods: &[Mood]) {
        let mut state = self.state.lock().unwrap();
        state.moods.push((words.to_owned(), moods.to_vec()));
    }

    fn taken(&self) -> Vec<Request> {
        self.state.lock().unwrap().taken.clone()
    }

    fn came(&self) -> Vec<Request> {
        self.state.lock().unwrap().came.clone()
    }

    fn wait_for(&self, count: usize) -> Vec<Request> {
        eventually("the bot took what is its", || {
            Some(self.taken()).filter(|taken| taken.len() >= count)
        })
    }
}

/// A world with a bot behind the program.
fn world_with(bot: &Bot, gate: &str) -> World {
    let world = World::with_mail(json!({}));
    in_front_of(&world, bot, gate);
    world
}

/// A bot and the program in front of it; nobody gets a mail.
fn running(gate: &str) -> (Bot, World, Portero) {
    let (bot, world) = (Bot::start(), World::without_mail());
    in_front_of(&world, &bot, gate);
    let portero = world.start();
    (bot, world, portero)
}

/// The same with a mail server.
fn running_with_mail(gate: &str) -> (Bot, World, Portero) {
    let bot = Bot::start();
    let world = world_with(&bot, gate);
    let portero = world.start();
    (bot, world, portero)
}

fn in_front_of(world: &World, bot: &Bot, gate: &str) {
    let secret = STANDARD.encode(BOT_SECRET);
    world.secret_file("bot_secret", &format!("whsec_{secret}"));
    let table = format!(
        "[bot]\nurl = \"{}/webhook/\"\ngate = \"{gate}\"\nsecret = \"file:bot_secret\"\ntimeout_seconds = 2\n\n[store]\n",
        bot.server.url()
    );
    world.edit("[store]\n", &table);
}

const BOT_SECRET: &[u8] = b"a secret that the bot and Portero share";

/// What an identity says; that it is signed is tested elsewhere, in another language.
fn claims(request: &Request) -> Value {
    let identity = request.header("portero-identity").expect("an identity");
    part(identity, 1)
}

/// What every request to a bot must be, whatever is in it.
fn assert_is_as_from_meta(request: &Request) {
    assert_eq!(
        (request.method.as_str(), request.path.as_str()),
        ("POST", "/webhook/")
    );
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(
        request.header("x-hub-signature-256"),
        Some(signature(APP_SECRET, &request.body).as_str())
    );
    let id = request.header("webhook-id").unwrap();
    let timestamp = request.header("webhook-timestamp").unwrap();
    let expected = webhook_signature(BOT_SECRET, id, timestamp, &request.body);
    assert_eq!(request.header("webhook-signature"), Some(expected.as_str()));
    let age = unix_seconds().abs_diff(timestamp.parse().unwrap());
    assert!(age < 100, "signed {age} seconds ago");
}

fn messages_in(request: &Request) -> Vec<String> {
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    let mut found = Vec::new();
    for entry in body["entry"].as_array().unwrap() {
        for change in entry["changes"].as_array().unwrap() {
            for message in change["value"]["messages"].as_array().into_iter().flatten() {
                let text = message["text"]["body"].as_str();
                found.push(text.unwrap_or("(no text)").to_owned());
            }
        }
    }
    found
}

fn published() -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/meta");
    let mut bodies: Vec<(String, Vec<u8>)> = fs::read_dir(folder)
        .unwrap()
        .map(|file| file.unwrap().path())
        .filter(|path| path.extension().is_some_and(|kind| kind == "json"))
        .map(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            (name, fs::read(path).unwrap())
        })
        .filter(|(name, _)| !name.contains("schema"))
        .collect();
    bodies.sort();
    assert!(bodies.len() >= 16, "the published bodies are gone");
    bodies
}

#[test]
fn every_published_body_reaches_the_bot_in_metas_own_bytes_and_once() {
    let (bot, _world, portero) = running("on_request");
    let mut expected = HashMap::new();
    for (name, body) in published() {
        // As published, but for the number of the business, and for an id that four of them share:
        // the same message has its effect once, whatever the body says.
        let text = String::from_utf8(body).unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        let number =
            body["entry"][0]["changes"][0]["value"]["metadata"]["phone_number_id"].as_str();
        let text = match number {
            Some(number) => text.replace(number, PHONE_NUMBER_ID),
            None => text,
        };
        let number = expected.len();
        let text = text.replace("QzQTRBNjU5OUFFRTAzODEwMTQ0RgA=", &format!("own{number}"));
        for _ in 0..2 {
            assert_eq!(portero.post_webhook(text.as_bytes()).status, 200, "{name}");
        }
        expected.insert(text.into_bytes(), name);
    }
    eventually("every body came", || {
        let came: HashSet<Vec<u8>> = bot.taken().into_iter().map(|r| r.body).collect();
        expected
            .keys()
            .all(|body| came.contains(body))
            .then_some(())
    });
    let taken = bot.taken();
    let mut ids = HashSet::new();
    for request in &taken {
        assert!(
            expected.contains_key(&request.body),
            "the bot got something else"
        );
        assert_is_as_from_meta(request);
        assert!(ids.insert(request.header("webhook-id").unwrap().to_owned()));
        let has_message = !messages_in(request).is_empty();
        let name = &expected[&request.body];
        let is_about_a_person =
            has_message && !name.starts_with("group") && !name.starts_with("system");
        assert_eq!(
            request.header("portero-identity").is_some(),
            is_about_a_person,
            "{name}"
        );
    }
    // A message is handed on once, however often it comes; of other news nobody can tell.
    for (body, name) in &expected {
        let came: Vec<&Request> = taken.iter().filter(|one| one.body == *body).collect();
        let most = if messages_in(came[0]).is_empty() {
            2
        } else {
            1
        };
        assert!(
            (1..=most).contains(&came.len()),
            "{name} came {} times",
            came.len()
        );
    }
    let (status, log) = portero.stop();
    assert_eq!(status, Some(0), "{log}");
}

/// The gate that is the default: nothing of a sign-in, then everything, the first message included.
#[test]
fn everyone_signs_in_first_and_then_the_bot_gets_the_first_message_as_it_came() {
    let (bot, mut world, portero) = running_with_mail("everyone");
    let first = webhook(&[message(
        ANAS,
        json!({"type": "text", "text": {"body": "¿Cuánto debo? 🧾"}}),
    )]);
    assert_eq!(portero.post_webhook(&first).status, 200);
    assert!(world.graph.reply(ANAS, 1).body.starts_with(WELCOME));
    world.sign_in(&portero, ANAS, ANA.email);
    let taken = bot.wait_for(1);
    assert_eq!(taken[0].body, first, "not Meta's own bytes");
    assert_is_as_from_meta(&taken[0]);
    let who = claims(&taken[0]);
    assert_eq!(who["contact"]["userUuid"], who["sub"]);
    assert_eq!(who["bindings"][0]["service"], "kutamma");
    assert_eq!(who["bindings"][0]["account"]["name"], ANA.name);
    assert_eq!(who["bindings"][0]["company"]["name"], ANA.company);
    assert_eq!(who["bindings"][0]["proof"], "mail_code");
    assert_eq!(who["scopes"], json!(["full"]));
    assert!(who["exp"].as_u64().unwrap() - who["iat"].as_u64().unwrap() <= 300);
    let id: Value = serde_json::from_slice(&first).unwrap();
    let id = &id["entry"][0]["changes"][0]["value"]["messages"][0]["id"];
    assert_eq!(who["jti"], *id);

    // From now on everything but our own words, of whatever kind.
    let picture =
        json!({"type": "image", "image": {"id": "1", "mime_type": "image/jpeg", "sha256": "x"}});
    let later = [
        webhook(&[text(ANAS, "y mándame la factura a otra@example.com")]),
        webhook(&[message(ANAS, picture)]),
        webhook(&[text(ANAS, "son 12345678 pesos")]),
    ];
    for body in &later {
        portero.post_webhook(body);
    }
    portero.receive(&[text(ANAS, "quién soy")]);
    let taken = bot.wait_for(4);
    let bodies: Vec<&[u8]> = taken[1..].iter().map(|request| &request.body[..]).collect();
    assert_eq!(bodies, later.iter().map(Vec::as_slice).collect::<Vec<_>>());
    portero.receive(&[text(ANAS, "cerrar sesión"), text(NOBODYS, "hello")]);
    portero.receive(&[text(ANAS, "hola otra vez")]);
    world.graph.reply(NOBODYS, 1);
    eventually("everybody was answered", || {
        (world.graph.sent_to(ANAS).len() >= 5).then_some(())
    });
    let (status, log) = portero.stop();
    assert_eq!(status, Some(0), "{log}");
    assert_eq!(bot.came().len(), 4, "the bot got a turn of a sign-in");
    for secret in [
        "¿Cuánto debo?",
        "otra@example.com",
        "Portero-Identity",
        "eyJ",
    ] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// The other gate: everybody reaches the bot, and what is said in a sign-in does not.
#[test]
fn on_request_the_bot_hears_strangers_and_no_turn_of_a_sign_in() {
    let (bot, world, portero) = running("on_request");
    portero.receive(&[text(ANAS, "hola"), text(NOBODYS, "hello")]);
    let taken = bot.wait_for(2);
    for request in &taken {
        assert_is_as_from_meta(request);
        let who = claims(request);
        assert_eq!((&who["bindings"], &who["scopes"]), (&json!([]), &json!([])));
    }
    assert_eq!(world.graph.count(), 0, "nobody asked for a sign-in");
    let log = portero.stop().1;
    assert!(!log.contains("ERROR"), "{log}");
}

#[test]
fn a_batch_of_several_people_is_cut_and_signed_again_so_that_each_part_is_about_one() {
    let (bot, mut world, portero) = running_with_mail("everyone");
    world.sign_in(&portero, ANAS, ANA.email);
    let batch = webhook(&[
        text(NOBODYS, "a stranger's words"),
        text(ANAS, "lo primero"),
        text(ANAS, "lo segundo"),
        text(NOBODYS, "and more of them"),
    ]);
    assert_eq!(portero.post_webhook(&batch).status, 200);
    let taken = bot.wait_for(2);
    let said: Vec<Vec<String>> = taken.iter().map(messages_in).collect();
    assert_eq!(said, [["lo primero"], ["lo segundo"]]);
    for request in &taken {
        assert_is_as_from_meta(request);
        let body = String::from_utf8_lossy(&request.body);
        assert!(
            !body.contains(NOBODYS) && !body.contains("stranger"),
            "{body}"
        );
        let parsed: Value = serde_json::from_slice(&request.body).unwrap();
        let value = &parsed["entry"][0]["changes"][0]["value"];
        assert_eq!(value["contacts"][0]["wa_id"], ANAS);
        assert_eq!(value["metadata"]["phone_number_id"], PHONE_NUMBER_ID);
        assert_eq!(claims(request)["jti"], value["messages"][0]["id"]);
    }
    // The same batch once more: everything in it had its effect.
    assert_eq!(portero.post_webhook(&batch).status, 200);
    portero.receive(&[text(ANAS, "lo tercero")]);
    assert_eq!(messages_in(&bot.wait_for(3)[2]), ["lo tercero"]);
}

/// A body that was signed with the old app secret while it is being changed is cut into parts that
/// are signed with the old one, too: it is what the bot knows.
#[test]
fn a_part_is_signed_with_the_secret_that_signed_the_whole() {
    let (bot, mut world, portero) = running_with_mail("everyone");
    world.sign_in(&portero, ANAS, ANA.email);
    let batch = webhook(&[text(NOBODYS, "hello"), text(ANAS, "hola")]);
    let signed = signature(OLD_APP_SECRET, &batch);
    let headers = [("X-Hub-Signature-256", signed.as_str())];
    let answer = ask(portero.address, "POST", "/webhook", &headers, &batch).unwrap();
    assert_eq!(answer.status, 200);
    let taken = bot.wait_for(1);
    assert_eq!(
        taken[0].header("x-hub-signature-256"),
        Some(signature(OLD_APP_SECRET, &taken[0].body).as_str())
    );
}

#[test]
fn the_bot_hears_the_fate_of_its_own_messages_and_not_of_porteros() {
    let (bot, world, portero) = running("everyone");
    portero.receive(&[text(ANAS, "hola")]);
    let ours = world.graph.reply(ANAS, 1);
    portero.post_webhook(&envelope(
        json!({"statuses": [status_of(&ours, "delivered")]}),
    ));
    let mut untagged = status_of(&ours, "read");
    untagged
        .as_object_mut()
        .unwrap()
        .remove("biz_opaque_callback_data");
    eventually("the message is known as sent", || {
        // Only then can it be found by Meta's id alone.
        portero.log().contains("a delivery").then_some(())
    });
    portero.post_webhook(&envelope(json!({"statuses": [untagged]})));

    let theirs = |id: &str, status: &str, to: &str| json!({"id": id, "status": status, "timestamp": unix_seconds().to_string(), "recipient_id": to});
    let whole = envelope(json!({
        "contacts": [{"wa_id": BEAS}],
        "statuses": [theirs("wamid.bot1", "sent", BEAS), theirs("wamid.bot1", "delivered", BEAS)]
    }));
    portero.post_webhook(&whole);
    // Twice, because Meta repeats: it is told once.
    portero.post_webhook(&whole);
    let mixed = envelope(json!({"statuses": [
        status_of(&ours, "read"), theirs("wamid.bot2", "failed", ANAS), theirs("wamid.bot1", "read", BEAS),
    ]}));
    portero.post_webhook(&mixed);
    let taken = bot.wait_for(3);
    assert_eq!(taken[0].body, whole);
    let mut others: Vec<Value> = taken[1..]
        .iter()
        .map(|request| {
            assert_is_as_from_meta(request);
            assert!(request.header("portero-identity").is_none());
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            body["entry"][0]["changes"][0]["value"]["statuses"].clone()
        })
        .collect();
    others.sort_by_key(|statuses| statuses[0]["id"].to_string());
    assert_eq!(others[0][0]["id"], "wamid.bot1");
    assert_eq!(others[1][0]["id"], "wamid.bot2");
    assert!(
        others
            .iter()
            .all(|statuses| statuses.as_array().unwrap().len() == 1)
    );
    let (_, log) = portero.stop();
    assert_eq!(bot.came().len(), 3, "{log}");
}

/// What becomes of a message to a group is told for each of its members (Meta's contract, 2.4).
#[test]
fn the_fate_of_a_message_to_a_group_is_told_for_every_member() {
    let (bot, _world, portero) = running("everyone");
    let told = |member: &str| {
        envelope(json!({"statuses": [{
            "id": "wamid.group1", "status": "delivered", "timestamp": unix_seconds().to_string(),
            "recipient_id": "Y2FwaV9ncm91cDoxNzA1", "recipient_type": "group", "recipient_participant_id": member,
        }]}))
    };
    let bodies = [ANAS, BEAS].map(told);
    for body in [&bodies[0], &bodies[1], &bodies[0]] {
        portero.post_webhook(body);
    }
    portero.post_webhook(&told(NOBODYS));
    let taken: Vec<Vec<u8>> = (bot.wait_for(3).into_iter())
        .map(|request| request.body)
        .collect();
    assert!(bodies.iter().all(|body| taken.contains(body)));
    assert_eq!(bot.came().len(), 3);
}

#[test]
fn meta_is_answered_by_portero_itself_and_the_bot_never_hears_of_the_handshake() {
    let (bot, _world, portero) = running("on_request");
    let path =
        format!("/webhook?hub.mode=subscribe&hub.challenge=4711&hub.verify_token={VERIFY_TOKEN}");
    let answer = portero.get(&path);
    assert_eq!((answer.status, answer.body.as_str()), (200, "4711"));
    assert_eq!(
        portero.get(&path.replace(VERIFY_TOKEN, "another")).status,
        403
    );
    portero.stop();
    assert!(bot.came().is_empty());
}

/// Whatever a bot answers, nothing is lost, the order of each person stays, and Meta's webhook is
/// answered meanwhile.
#[test]
fn a_bot_that_fails_in_every_way_gets_everything_in_the_end_and_in_order() {
    let (bot, _world, portero) = running("on_request");
    let troubles = [
        Mood::Says(500),
        Mood::HangsUp,
        Mood::Says(404),
        Mood::Says(302),
        Mood::IsSilent,
        Mood::SaysHtml,
    ];
    bot.behave("primero", &troubles);
    bot.behave("segundo", &[Mood::SaysMuch, Mood::SaysMuch]);
    let people: Vec<String> = (0..8).map(|n| format!("57300111000{n}")).collect();
    for from in &people {
        // Each is on disk before the answer, whatever the bot does with it.
        portero.receive(&[text(from, "lo primero")]);
        portero.receive(&[text(from, "lo segundo")]);
    }
    portero.receive(&[text(ANAS, "quien no espera")]);
    let taken = bot.wait_for(2 * people.len() + 1);
    let mut by_person: HashMap<String, Vec<String>> = HashMap::new();
    let mut tries: HashMap<String, HashSet<String>> = HashMap::new();
    for request in &taken {
        assert_is_as_from_meta(request);
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        let from = &body["entry"][0]["changes"][0]["value"]["messages"][0]["from"];
        let from = from.as_str().unwrap().to_owned();
        by_person
            .entry(from)
            .or_default()
            .extend(messages_in(request));
    }
    for from in &people {
        assert_eq!(by_person[from], ["lo primero", "lo segundo"], "{from}");
    }
    for request in bot.came() {
        let id = request.header("webhook-id").unwrap().to_owned();
        let said = String::from_utf8_lossy(&request.body).into_owned();
        tries.entry(said).or_default().insert(id);
    }
    assert!(
        tries.values().all(|ids| ids.len() == 1),
        "a try has another name"
    );
    assert_eq!(bot.came().len(), taken.len() + troubles.len() - 1);
    let (status, log) = portero.stop();
    assert_eq!(status, Some(0), "{log}");
    // And it is shown, with what to do.
    for words in ["the bot answered 500", "portero outbox list"] {
        assert!(log.contains(words), "{words} is not in the log: {log}");
    }
}

/// R-40 for bots: nobody is there, then the process is killed, then somebody is.
#[test]
fn what_waits_for_a_bot_that_is_down_survives_a_kill_and_leaves_in_order() {
    let bot = Bot::start();
    let world = World::without_mail();
    in_front_of(&world, &bot, "on_request");
    let down = world.path("portero.toml");
    let there = fs::read_to_string(&down).unwrap();
    // Nobody listens there.
    let nobody = "http://127.0.0.1:9";
    fs::write(&down, there.replace(&bot.server.url(), nobody)).unwrap();
    let portero = world.start();
    for number in 0..5 {
        portero.receive(&[
            text(ANAS, &format!("a{number}")),
            text(BEAS, &format!("b{number}")),
        ]);
    }
    eventually("the trouble is told", || {
        let told = portero.get("/readyz").body;
        (told.contains("sending by bot is paused")).then_some(())
    });
    portero.kill();
    fs::write(&down, there).unwrap();
    let portero = world.start();
    let taken = bot.wait_for(10);
    let said: Vec<String> = taken.iter().flat_map(messages_in).collect();
    for who in ["a", "b"] {
        let order: Vec<&str> = (said.iter().map(String::as_str))
            .filter(|text| text.starts_with(who))
            .collect();
        let expected: Vec<String> = (0..5).map(|number| format!("{who}{number}")).collect();
        assert_eq!(order, expected);
    }
    drop(portero);
}

#[test]
fn what_could_be_anybodys_and_what_is_another_numbers_is_not_handed_on() {
    let (bot, _world, portero) = running("on_request");
    let foreign = String::from_utf8(webhook(&[text(NOBODYS, "for another number")])).unwrap();
    let foreign = foreign.replace(PHONE_NUMBER_ID, "999999999999999");
    portero.post_webhook(foreign.as_bytes());
    let mut nameless = text(NOBODYS, "from nobody").value;
    nameless.as_object_mut().unwrap().remove("from");
    portero.post_webhook(&envelope(json!({"messages": [nameless]})));
    portero.post_webhook(br#"{"object":"whatsapp_business_account","entry":"#);
    // Another field is the bot's, as it came.
    let other = br#"{"object":"whatsapp_business_account","entry":[{"id":"1","time":1,"changes":[{"field":"message_template_status_update","value":{"event":"APPROVED"}}]}]}"#;
    portero.post_webhook(other);
    let taken = bot.wait_for(1);
    assert_eq!(taken[0].body, other);
    portero.receive(&[text(ANAS, "the last")]);
    assert_eq!(messages_in(&bot.wait_for(2)[1]), ["the last"]);
    assert_eq!(bot.came().len(), 2);
}

/// S-06 for every field; and a bot that hears nobody before they sign in hears them in no field.
#[test]
fn what_people_wrote_reaches_the_bot_in_other_fields_only_where_it_hears_everybody() {
    let of = |field: &str, number: &str| {
        let value = json!({"metadata": {"phone_number_id": number}, "calls": [{"from": ANAS}]});
        let change = json!({"field": field, "value": value});
        let entry = json!([{"id": "1", "time": 1, "changes": [change]}]);
        json!({"object": "whatsapp_business_account", "entry": entry})
            .to_string()
            .into_bytes()
    };
    let peoples = [
        "history",
        "smb_message_echoes",
        "smb_app_state_sync",
        "calls",
        "user_preferences",
        "standby",
    ];
    for gate in ["everyone", "on_request"] {
        let (bot, _world, portero) = running(gate);
        let mut expected = vec![of("flows", PHONE_NUMBER_ID)];
        for field in peoples {
            portero.post_webhook(&of(field, PHONE_NUMBER_ID));
            if gate == "on_request" {
                expected.push(of(field, PHONE_NUMBER_ID));
            }
        }
        for field in ["flows", "calls", "account_update"] {
            portero.post_webhook(&of(field, "999999999999999"));
        }
        portero.post_webhook(&of("flows", PHONE_NUMBER_ID));
        let mut taken: Vec<Vec<u8>> = (bot.wait_for(expected.len()).into_iter())
            .map(|request| request.body)
            .collect();
        expected.sort();
        taken.sort();
        assert!(taken == expected, "{gate}");
        drop(portero);
        assert_eq!(bot.came().len(), expected.len(), "{gate}");
    }
}

#[test]
fn in_a_group_nobody_is_somebody() {
    let (bot, _world, portero) = running("on_request");
    let in_group = |text: &str| {
        message(
            ANAS,
            json!({"type": "text", "text": {"body": text}, "group_id": "g1"}),
        )
    };
    portero.receive(&[in_group("hola a todos")]);
    let taken = bot.wait_for(1);
    assert!(taken[0].header("portero-identity").is_none());
    assert_is_as_from_meta(&taken[0]);
    drop(portero);

    let (bot, mut world, portero) = running_with_mail("everyone");
    world.sign_in(&portero, ANAS, ANA.email);
    portero.receive(&[in_group("hola a todos")]);
    portero.receive(&[text(ANAS, "hola, bot")]);
    assert_eq!(messages_in(&bot.wait_for(1)[0]), ["hola, bot"]);
}

/// The identity says who stood behind the chat when the message was written, not who does now.
#[test]
fn an_identity_never_names_somebody_who_signed_in_after_the_message() {
    let (bot, mut world, portero) = running_with_mail("everyone");
    world.sign_in(&portero, ANAS, ANA.email);
    bot.behave(
        "de Ana",
        &[Mood::Says(500), Mood::Says(500), Mood::Says(500)],
    );
    portero.receive(&[text(ANAS, "de Ana")]);
    eventually("the bot refused it", || {
        (!bot.came().is_empty()).then_some(())
    });
    portero.receive(&[text(ANAS, "cerrar sesión")]);
    world.sign_in(&portero, ANAS, BEA.email);
    let taken = bot.wait_for(1);
    assert_eq!(messages_in(&taken[0]), ["de Ana"]);
    assert_eq!(claims(&taken[0])["bindings"], json!([]), "Bea is named");
    portero.receive(&[text(ANAS, "de Bea")]);
    let taken = bot.wait_for(2);
    assert_eq!(
        claims(&taken[1])["bindings"][0]["account"]["name"],
        BEA.name
    );
}

/// R-05 with a bot in the way: the end comes in time, and what the bot had not answered it gets
/// again under the same name.
#[test]
fn a_bot_that_never_answers_delays_no_end_and_gets_its_message_again() {
    let bot = Bot::start();
    let world = World::without_mail();
    in_front_of(&world, &bot, "on_request");
    world.edit("timeout_seconds = 2\n", "timeout_seconds = 60\n");
    bot.behave("espera", &[Mood::IsSilent]);
    let mut portero = world.start();
    portero.receive(&[text(ANAS, "espera")]);
    eventually("the bot has it and says nothing", || {
        (bot.came().len() == 1).then_some(())
    });
    portero.signal(rustix::process::Signal::TERM);
    let status = portero.ended_within(Duration::from_secs(10));
    assert_eq!(status.expect("it did not end in time").code(), Some(0));
    let portero = world.start();
    let taken = bot.wait_for(1);
    let name = |request: &Request| request.header("webhook-id").unwrap().to_owned();
    assert_eq!(name(&taken[0]), name(&bot.came()[0]));
    drop(portero);
}

/// Events: signed, in order, under a name that stays, and nobody waits for their receiver.
#[test]
fn whoever_wants_to_know_is_told_who_came_and_went_in_order_and_signed() {
    let (bot, receiver) = (Bot::start(), Bot::start());
    let mut world = world_with(&bot, "everyone");
    let secret = STANDARD.encode(BOT_SECRET);
    world.secret_file("events_secret", &format!("whsec_{secret}"));
    let table = format!(
        "[events]\nurl = \"{}/events\"\nsecret = \"file:events_secret\"\n\n[store]\n",
        receiver.server.url()
    );
    world.edit("[store]\n", &table);
    receiver.behave("contact.bound", &[Mood::Says(500), Mood::HangsUp]);
    let portero = world.start();
    portero.receive(&[text(ANAS, "hola")]);
    portero.receive(&[text(ANAS, ANA.email)]);
    let code = world.mail().letter_to(ANA.email).code();
    let wrong = other_than(&code);
    portero.receive(&[text(ANAS, &wrong)]);
    portero.receive(&[text(ANAS, &code)]);
    // The bot does not wait for the receiver of events.
    assert_eq!(messages_in(&bot.wait_for(1)[0]), ["hola"]);
    portero.receive(&[text(ANAS, "cerrar sesión")]);
    let taken = receiver.wait_for(4);
    let events: Vec<Value> = taken
        .iter()
        .map(|request| {
            assert_eq!(request.path, "/events");
            let id = request.header("webhook-id").unwrap();
            assert!(id.starts_with("evt_"), "{id}");
            let timestamp = request.header("webhook-timestamp").unwrap();
            let expected = webhook_signature(BOT_SECRET, id, timestamp, &request.body);
            assert_eq!(request.header("webhook-signature"), Some(expected.as_str()));
            serde_json::from_slice(&request.body).unwrap()
        })
        .collect();
    let told: Vec<(&str, &str)> = events
        .iter()
        .map(|event| {
            let reason = event["data"]["reason"].as_str().unwrap_or("");
            (event["type"].as_str().unwrap(), reason)
        })
        .collect();
    assert_eq!(
        told,
        [
            ("sign_in.started", "mail_code"),
            ("sign_in.failed", "code_wrong"),
            ("contact.bound", ""),
            ("contact.released", "logged_out"),
        ]
    );
    let who = claims(&bot.taken()[0])["sub"].clone();
    assert!(events.iter().all(|event| event["data"]["userUuid"] == who));
    assert_eq!(
        events[2]["data"]["bindings"][0]["account"]["name"],
        ANA.name
    );
    // Three tries of one event have one name; no event says more than it must.
    let names: Vec<String> = (receiver.came().iter())
        .filter(|request| String::from_utf8_lossy(&request.body).contains("contact.bound"))
        .map(|request| request.header("webhook-id").unwrap().to_owned())
        .collect();
    assert_eq!(
        (names.len(), names.iter().collect::<HashSet<_>>().len()),
        (3, 1)
    );
    for request in receiver.came() {
        let body = String::from_utf8_lossy(&request.body).into_owned();
        for secret in [ANA.email, ANAS, &code, "hola"] {
            assert!(!body.contains(secret), "{secret} in {body}");
        }
    }
    let (status, log) = portero.stop();
    assert_eq!(status, Some(0), "{log}");
}
