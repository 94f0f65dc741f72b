//! What may happen, and in which order a seed lets it happen. A step names things by their place
//! ("the last code mailed to Ana"), never by their value: so any of them can be left out, and what
//! is left is still a story.

use crate::dice::Dice;
use portero::domain::message::Status;
use portero::domain::policy::{Finish, Gate, Methods, PhoneOnFile, Policy};
use portero::domain::time::{DAY_MS, HOUR_MS, MINUTE_MS, SECOND_MS};

/// The people. Ana and Mallory belong to Acme, Ben and Cleo to Bolt; nobody knows Dan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Who {
    Ana,
    Ben,
    Cleo,
    Dan,
    Mallory,
}

pub const EVERYBODY: [Who; 5] = [Who::Ana, Who::Ben, Who::Cleo, Who::Dan, Who::Mallory];

/// What somebody writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Text {
    Hello,
    Question,
    Address(Who),
    /// The same with a slip in its domain.
    Typo(Who),
    TwoAddresses,
    /// The last code mailed to this mailbox; a guess if there is none.
    Code(Who),
    /// The first one.
    OldCode(Who),
    Guess,
    TwoCodes,
    ShortCode,
    Yes,
    No,
    Resend,
    OtherAddress,
    Cancel,
    LogOut,
    WhoAmI,
    Web,
    /// What was last made ready in this person's browser.
    Return(Who),
    /// What was first.
    OldReturn(Who),
    Password,
    Picture,
    Reaction,
    /// The newest button of this name that the writer was shown.
    Tap(&'static str),
    /// The oldest.
    OldTap(&'static str),
}

/// How a message comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    Direct,
    Forwarded,
    InGroup,
    /// It was sent this many milliseconds ago.
    Late(u64),
}

/// What whoever checks a password says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Check {
    Right,
    Wrong,
    NoAnswer,
    NotEverybody,
}

/// What the world outside does from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Weather {
    Fair,
    WhatsAppFails,
    /// It takes what comes, and no answer says so.
    WhatsAppSilent,
    MailFails,
    MailSilent,
    OneServiceDown,
    ServicesDown,
    /// They answer with everybody they know.
    ServicesCareless,
    BotFails,
    BotSilent,
}

/// What the store does with the next webhook. In memory, but for the power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Its n-th operation fails.
    Fails(u8),
    /// Its commit succeeds, and the answer says that nobody knows.
    Unknown,
    /// Bodies run twice.
    Twice,
    /// The power fails. On a disk.
    Power(Loss),
}

/// When the power fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Loss {
    /// At this operation of the disk, from 0, or when there are fewer, after the last.
    AtOperation(u8),
    /// When the disk has failed to keep what a commit ends with.
    AtEndOfCommit,
    /// When all is stored and nobody has been told.
    BeforeAnswer,
}

/// One thing that happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Somebody writes, and it arrives at once.
    Write(Who, Text, How),
    /// Somebody writes, and it stays under way.
    Send(Who, Text, How),
    /// One of those under way arrives.
    Arrives(u8),
    /// A webhook that came before comes again.
    Again(u8),
    /// `0` sends the form of the last link of `1`, with its own user name and number.
    Sign(Who, Who, Check),
    /// The same with a link that is not the last one.
    SignOld(Who, Who, Check),
    /// Two forms of one link are being checked at the same time; the first is the owner's.
    SignTwice(Who, Who),
    /// Somebody looks at the page of the last link of this person.
    Look(Who),
    /// *It was not me.*
    Decline(Who),
    /// Whoever reads this mailbox follows the last link to undo a sign-in; twice.
    Undo(Who),
    /// Time passes.
    Tick(u64),
    /// The clock of the machine is set ahead.
    Leap(u64),
    /// The process is killed so long after it last noted the time, and the clock of the machine is set
    /// back by so much before another one starts.
    BackAtRestart {
        noted_ago_ms: u64,
        by_ms: u64,
    },
    /// What is due leaves.
    Leave,
    /// The process ends and another one starts.
    Restart,
    /// The process ends after something left and before that is on disk.
    Die,
    Outside(Weather),
    /// News of a message of ours.
    News(u8, Status),
    Store(Trouble),
    /// A new phone.
    NewKey(Who),
    /// A new number and BSUID, of which WhatsApp tells.
    NewNumber(Who),
    /// The first takes over the number of the second, who has another one from now on.
    TakesNumber(Who, Who),
    Operator(Who),
    Bot(Who),
    BotLink(Who, bool),
    /// The operator forgets a chat.
    ForgetChat(Who),
    /// The operator forgets whoever has this address.
    ForgetAddress(Who),
    /// The bot asks for a token with one of the identities it has seen.
    Token(u8),
    /// The janitor sweeps.
    Sweep,
}

/// What holds for a whole run.
#[derive(Clone, Debug)]
pub struct Setting {
    pub policy: Policy,
    /// Ana's own phone is on file.
    pub has_phone: bool,
    /// Whether people tell others their codes: then the documented residuals are ways in.
    pub relays: bool,
    /// The store lies on a disk whose power fails, and this is what decides what is left; else it is
    /// in memory.
    pub disk: Option<u64>,
}

/// One world in so many keeps its store on a disk.
const DISK_EVERY: u64 = 8;

/// Operations of a disk that a message takes to be stored, at most: they are 9 to 28.
pub const OPERATIONS: usize = 28;

/// The setting and the steps of a seed.
pub fn story(seed: u64) -> (Setting, Vec<Step>) {
    let mut dice = Dice::new(seed);
    let mut setting = setting(&mut dice);
    let mut steps = Vec::new();
    let length = 20 + dice.below(50);
    let mut who = dice.one(&EVERYBODY);
    while steps.len() < length {
        // People who did something go on with it.
        if dice.once_in(2) {
            who = dice.one(&EVERYBODY);
        }
        scene(&mut dice, &setting, who, &mut steps);
    }
    if seed % DISK_EVERY == DISK_EVERY / 2 {
        // Other numbers than those of the story.
        setting.disk = Some(!seed);
        steps = with_losses_of_power(&mut dice, steps);
    }
    (setting, steps)
}

/// The power fails at one message in three.
fn with_losses_of_power(dice: &mut Dice, steps: Vec<Step>) -> Vec<Step> {
    let mut with_losses = Vec::new();
    for step in steps {
        if matches!(step, Step::Write(..) | Step::Arrives(_)) && dice.once_in(3) {
            let loss = match dice.below(4) {
                0 => Loss::AtEndOfCommit,
                1 => Loss::BeforeAnswer,
                _ => Loss::AtOperation(u8::try_from(dice.below(OPERATIONS)).unwrap()),
            };
            with_losses.push(Step::Store(Trouble::Power(loss)));
        }
        with_losses.push(step);
    }
    with_losses
}

fn setting(dice: &mut Dice) -> Setting {
    let both = Methods {
        mail: true,
        web: true,
    };
    let (mail, web) = (
        Methods { web: false, ..both },
        Methods {
            mail: false,
            ..both
        },
    );
    let relays = dice.once_in(3);
    let finishes: &[Finish] = match relays {
        true => &[Finish::ReturnCode, Finish::MailCode, Finish::Nothing],
        false => &[Finish::ReturnCode, Finish::ReturnCode, Finish::MailCode],
    };
    let has_phone = dice.once_in(3);
    // Where everybody is heard, a link that the bot asks for begins a sign-in.
    let (gate, ways_in) = match dice.below(3) {
        0 => (Gate::OnRequest, dice.one(&[both, both, web])),
        _ => (Gate::Everyone, dice.one(&[both, both, both, mail, web])),
    };
    let policy = Policy {
        methods: ways_in,
        finish: dice.one(finishes),
        gate,
        ask_number: dice.once_in(5),
        phone_on_file: dice.one(&[
            PhoneOnFile::MustMatch,
            PhoneOnFile::MustMatch,
            PhoneOnFile::StepUp,
            PhoneOnFile::Ignored,
        ]),
        binding_age_max_ms: dice.one(&[None, None, Some(DAY_MS)]),
        failures_per_day_in_all: dice.one(&[500, 12]),
        failures_per_day: dice.one(&[10, 6]),
        ..Policy::default()
    };
    Setting {
        policy,
        has_phone,
        relays,
        disk: None,
    }
}

/// Moments at which something ends, and around them.
const PAUSES_MS: [u64; 26] = [
    1,
    4_998,
    4_999,
    5_000,
    10_000,
    30_000,
    59_998,
    59_999,
    60_000,
    60_000,
    61_000,
    MINUTE_MS,
    2 * MINUTE_MS,
    5 * MINUTE_MS - 2,
    5 * MINUTE_MS - 1,
    5 * MINUTE_MS,
    10 * MINUTE_MS - 2,
    10 * MINUTE_MS - 1,
    10 * MINUTE_MS,
    HOUR_MS,
    HOUR_MS,
    23 * HOUR_MS,
    DAY_MS - 1,
    DAY_MS,
    DAY_MS,
    8 * DAY_MS,
];

const LEAPS_MS: [u64; 6] = [
    2 * HOUR_MS,
    30 * DAY_MS,
    90 * DAY_MS,
    91 * DAY_MS,
    125 * DAY_MS,
    3_652 * DAY_MS,
];

/// How long ago the time was noted, and by how much the clock goes back: the sweeper notes it every 20 s,
/// and less often while it copies; of what it has not noted it is sure up to a minute (`earliest_start`).
const BACK_AT_RESTART_MS: [(u64, u64); 4] = [
    (20 * SECOND_MS, HOUR_MS),
    (20 * SECOND_MS, DAY_MS),
    (5 * MINUTE_MS, 19 * SECOND_MS),
    (5 * MINUTE_MS, MINUTE_MS),
];

const AGES_MS: [u64; 8] = [
    30 * SECOND_MS,
    9 * MINUTE_MS,
    10 * MINUTE_MS,
    10 * MINUTE_MS + 1,
    HOUR_MS,
    23 * HOUR_MS + 1,
    7 * DAY_MS,
    9 * DAY_MS,
];

const BUTTONS: [&str; 8] = [
    "resend", "other", "cancel", "yes", "no", "logout", "web", "newlink",
];

fn scene(dice: &mut Dice, setting: &Setting, who: Who, steps: &mut Vec<Step>) {
    let other = dice.one(&EVERYBODY);
    let says = |text| Step::Write(who, text, How::Direct);
    let web = match setting.policy.gate {
        Gate::Everyone => says(Text::Web),
        Gate::OnRequest => Step::BotLink(who, true),
    };
    let kind = dice.below(20);
    let mut scene: Vec<Step> = match kind {
        // The way in by mail, the whole of it or not.
        0..=4 => vec![
            says(Text::Hello),
            says(Text::Address(who)),
            says(Text::Code(who)),
        ],
        // The way in on the web.
        5..=8 => vec![
            web,
            Step::Sign(who, who, Check::Right),
            says(Text::Return(who)),
        ],
        // Somebody's link gets to somebody else, who signs in and goes back to WhatsApp.
        9 | 10 => vec![
            web,
            Step::Sign(other, who, Check::Right),
            Step::Write(other, Text::Return(other), How::Direct),
        ],
        // Guessing at somebody's code.
        11 | 12 => {
            let mut guesses = vec![says(Text::Address(other))];
            guesses.extend((0..2 + dice.below(6)).map(|_| says(Text::Guess)));
            guesses.push(says(Text::Resend));
            guesses.push(says(Text::Code(who)));
            guesses
        }
        // Guessing at a password.
        13 => {
            let mut guesses = vec![web, Step::Leave];
            let tries = 1 + dice.below(6);
            let checks = [
                Check::Wrong,
                Check::Wrong,
                Check::NotEverybody,
                Check::NoAnswer,
            ];
            guesses.extend((0..tries).map(|_| Step::Sign(other, who, dice.one(&checks))));
            guesses.push(Step::Sign(who, who, Check::Right));
            guesses.push(says(Text::Return(who)));
            guesses
        }
        14 => vec![
            says(Text::Typo(who)),
            says(dice.one(&[Text::Yes, Text::No, Text::Hello])),
            says(Text::Code(who)),
        ],
        15 => vec![
            says(Text::Question),
            Step::Token(0),
            says(Text::LogOut),
            Step::Token(0),
        ],
        // Asking again for the same one, beside somebody else who does.
        16 => vec![
            says(Text::Address(other)),
            Step::Write(dice.one(&EVERYBODY), Text::Address(other), How::Direct),
            says(Text::OtherAddress),
            says(Text::Address(other)),
            says(Text::Resend),
        ],
        // The bot is down while somebody signs in.
        18 => vec![
            Step::Outside(Weather::BotFails),
            says(Text::Question),
            Step::Leave,
            web,
            Step::Leave,
            Step::Sign(who, who, Check::Right),
            says(Text::Return(who)),
            Step::Outside(Weather::Fair),
            Step::Tick(MINUTE_MS),
            Step::Leave,
        ],
        17 => vec![
            says(Text::Code(who)),
            Step::Leave,
            Step::Undo(who),
            says(Text::Address(who)),
            says(Text::Code(who)),
        ],
        _ => Vec::new(),
    };
    if kind <= 8 && dice.once_in(2) {
        scene.extend(after_a_sign_in(dice, who));
    }
    let leaves = !dice.once_in(8);
    for step in scene {
        if dice.once_in(5) {
            steps.push(any(dice, setting));
        }
        steps.push(varied(dice, step));
        if leaves {
            steps.push(Step::Leave);
        }
        match dice.below(8) {
            0 => steps.push(Step::Tick(dice.one(&PAUSES_MS))),
            1 => {}
            _ => steps.push(Step::Tick(10 * SECOND_MS)),
        }
    }
    for _ in 0..dice.below(4) {
        steps.push(any(dice, setting));
    }
}

/// What somebody does who may be signed in, and how that ends.
fn after_a_sign_in(dice: &mut Dice, who: Who) -> Vec<Step> {
    let says = |text| Step::Write(who, text, How::Direct);
    let end = dice.one(&[
        says(Text::LogOut),
        says(Text::Tap("logout")),
        Step::Undo(who),
        Step::NewKey(who),
        Step::NewNumber(who),
        Step::Operator(who),
        Step::Bot(who),
        Step::ForgetChat(who),
        Step::Tick(91 * DAY_MS),
        Step::Write(who, Text::Return(who), How::InGroup),
    ]);
    let mut steps = vec![says(Text::Question), Step::Token(0), end];
    steps.extend([Step::Token(0), says(Text::Question)]);
    steps
}

/// Now and then a message is forwarded, late, or under way for a while.
fn varied(dice: &mut Dice, step: Step) -> Step {
    match step {
        Step::Write(who, text, How::Direct) => match dice.below(24) {
            0 => Step::Write(who, text, How::Forwarded),
            1 => Step::Write(who, text, How::InGroup),
            2 => Step::Write(who, text, How::Late(dice.one(&AGES_MS))),
            3 => Step::Send(who, text, How::Direct),
            _ => step,
        },
        _ => step,
    }
}

/// Anything.
fn any(dice: &mut Dice, setting: &Setting) -> Step {
    let who = dice.one(&EVERYBODY);
    let other = dice.one(&EVERYBODY);
    let number = u8::try_from(dice.below(256)).unwrap();
    match dice.below(42) {
        0..=8 => {
            let text = any_text(dice, who, setting);
            varied(dice, Step::Write(who, text, How::Direct))
        }
        9 | 10 => Step::Arrives(number),
        11 | 12 => Step::Again(number),
        13 => Step::Sign(who, dice.one(&[who, other]), any_check(dice)),
        14 => Step::SignOld(who, other, any_check(dice)),
        15 => Step::SignTwice(who, other),
        16 => Step::Look(who),
        17 => Step::Decline(who),
        18 => Step::Undo(who),
        19..=22 => Step::Tick(dice.one(&PAUSES_MS)),
        23 if dice.once_in(3) => match dice.once_in(2) {
            true => Step::Tick(dice.one(&LEAPS_MS)),
            false => Step::Leap(dice.one(&LEAPS_MS)),
        },
        23 => Step::Restart,
        24 => {
            let (noted_ago_ms, by_ms) = dice.one(&BACK_AT_RESTART_MS);
            Step::BackAtRestart {
                noted_ago_ms,
                by_ms,
            }
        }
        25 => Step::Die,
        26 | 27 => Step::Outside(dice.one(&[
            Weather::WhatsAppFails,
            Weather::WhatsAppSilent,
            Weather::MailFails,
            Weather::MailSilent,
            Weather::OneServiceDown,
            Weather::ServicesDown,
            Weather::ServicesCareless,
            Weather::BotFails,
            Weather::BotSilent,
        ])),
        28 | 29 => Step::Outside(Weather::Fair),
        30 => Step::News(
            number,
            dice.one(&[
                Status::Sent,
                Status::Delivered,
                Status::Read,
                Status::Failed,
            ]),
        ),
        31 | 32 => Step::Store(dice.one(&[
            Trouble::Fails(number % 40),
            Trouble::Fails(number % 12),
            Trouble::Unknown,
            Trouble::Twice,
        ])),
        33 => Step::NewKey(who),
        34 => Step::NewNumber(who),
        35 => Step::TakesNumber(who, other),
        36 => Step::Operator(who),
        37 => Step::Bot(who),
        38 => Step::BotLink(who, dice.once_in(2)),
        39 if dice.once_in(2) => Step::ForgetChat(who),
        39 => Step::ForgetAddress(who),
        40 => Step::Token(number),
        _ => Step::Sweep,
    }
}

fn any_check(dice: &mut Dice) -> Check {
    dice.one(&[
        Check::Right,
        Check::Right,
        Check::Wrong,
        Check::NoAnswer,
        Check::NotEverybody,
    ])
}

fn any_text(dice: &mut Dice, who: Who, setting: &Setting) -> Text {
    let other = dice.one(&EVERYBODY);
    // Without relays people write only what reached themselves.
    let source = if setting.relays { other } else { who };
    match dice.below(26) {
        0 => Text::Hello,
        1 => Text::Question,
        2 | 3 => Text::Address(other),
        4 => Text::Typo(other),
        5 => Text::TwoAddresses,
        6 | 7 => Text::Code(source),
        8 => Text::OldCode(source),
        9 => Text::Guess,
        10 => Text::TwoCodes,
        11 => Text::ShortCode,
        12 => Text::Yes,
        13 => Text::No,
        14 | 15 => Text::Resend,
        16 => Text::OtherAddress,
        17 => Text::Cancel,
        18 => Text::LogOut,
        19 => Text::WhoAmI,
        20 => Text::Web,
        21 => Text::Return(source),
        22 => Text::OldReturn(source),
        23 => dice.one(&[Text::Password, Text::Picture, Text::Reaction]),
        24 => Text::Tap(dice.one(&BUTTONS)),
        _ => Text::OldTap(dice.one(&BUTTONS)),
    }
}
