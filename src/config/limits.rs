//! `[limits]`: how much and how long, each within the range in which it still protects.

use super::keys;
use super::read::{Reader, number};
use super::values::{size, u32_of};
use crate::domain::budget::Budget;
use crate::domain::policy::Policy;
use crate::domain::time::{DAY_MS, MINUTE_MS, SECOND_MS};
use toml::de::DeTable;

pub(super) fn policy(reader: &mut Reader<'_>, root: &DeTable<'_>) -> Option<Policy> {
    let table = reader.table(root, "limits");
    let digits = reader.one(
        &table,
        &keys::LIMITS_CODE_DIGITS,
        number(6..=10, "; fewer can be guessed, more are mistyped"),
    );
    let minutes = reader.one(
        &table,
        &keys::LIMITS_CODE_MINUTES,
        number(
            2..=10,
            "; NIST SP 800-63B allows 10 minutes at most, and a mail needs one",
        ),
    );
    let tries = reader.one(
        &table,
        &keys::LIMITS_TRIES_PER_CODE,
        number(1..=10, "; each try is a chance to guess"),
    );
    let failures = reader.one(
        &table,
        &keys::LIMITS_FAILURES_PER_DAY,
        number(1..=100, "; NIST SP 800-63B allows 100 at most"),
    );
    let failures_in_all = reader.one(
        &table,
        &keys::LIMITS_FAILURES_PER_DAY_IN_ALL,
        number(
            1..=Budget::MOMENTS_MAX as u64,
            "; each one is remembered for a day",
        ),
    );
    let resend = reader.one(
        &table,
        &keys::LIMITS_RESEND_AFTER_SECONDS,
        number(1..=3_600, ""),
    );
    let mails_per_hour = reader.one(
        &table,
        &keys::LIMITS_MAILS_PER_HOUR,
        number(1..=60, "; more would flood a mailbox"),
    );
    let mails_per_day = reader.one(
        &table,
        &keys::LIMITS_MAILS_PER_DAY,
        number(1..=500, "; more would flood a mailbox"),
    );
    let message_age = reader.one(
        &table,
        &keys::LIMITS_MESSAGE_AGE_MAX_MINUTES,
        number(1..=60, "; old messages may be replayed"),
    );
    let idle = reader.one(
        &table,
        &keys::LIMITS_BINDING_IDLE_DAYS,
        number(1..=3_650, ""),
    );
    let age = reader.maybe(
        &table,
        &keys::LIMITS_BINDING_AGE_MAX_DAYS,
        number(1..=3_650, ""),
    );
    let replies = reader.one(
        &table,
        &keys::LIMITS_REPLIES_PER_HOUR,
        number(3..=1_000, "; a clean sign-in takes three"),
    );
    let link_minutes = reader.one(
        &table,
        &keys::LIMITS_LINK_MINUTES,
        number(
            2..=10,
            "; 10 is what pages count on, and signing in takes one",
        ),
    );
    let links = reader.one(
        &table,
        &keys::LIMITS_LINKS_PER_HOUR,
        number(1..=60, "; more would flood a chat"),
    );
    let passwords_per_link = reader.one(
        &table,
        &keys::LIMITS_PASSWORDS_PER_LINK,
        number(1..=10, "; each one is a chance to guess"),
    );
    let passwords_per_user = reader.one(
        &table,
        &keys::LIMITS_PASSWORDS_PER_USER_PER_HOUR,
        number(1..=100, "; each one is a chance to guess"),
    );
    let passwords_per_network = reader.one(
        &table,
        &keys::LIMITS_PASSWORDS_PER_NETWORK,
        number(1..=1_000, "; each one is a chance to guess"),
    );
    let return_code_minutes = reader.one(
        &table,
        &keys::LIMITS_RETURN_CODE_MINUTES,
        number(1..=10, "; it is sent with one tap"),
    );
    let (digits, failures, failures_in_all) = (digits?, failures?, failures_in_all?);
    if failures_in_all < failures {
        reader.problem(
            &table,
            &keys::LIMITS_FAILURES_PER_DAY_IN_ALL,
            format!("must be at least limits.failures_per_day, which is {failures}"),
        );
    }
    let (mails_per_hour, mails_per_day) = (mails_per_hour?, mails_per_day?);
    if mails_per_day < mails_per_hour {
        reader.problem(
            &table,
            &keys::LIMITS_MAILS_PER_DAY,
            format!("must be at least limits.mails_per_hour, which is {mails_per_hour}"),
        );
    }
    // Whoever only guesses gets in once in so many days.
    const DAYS_PER_GUESS_MIN: u64 = 2_000; // 500 failures against six digits
    let codes = 10_u64.pow(u32_of(digits));
    if codes / failures_in_all < DAYS_PER_GUESS_MIN {
        reader.weakens(
            &table,
            &keys::LIMITS_FAILURES_PER_DAY_IN_ALL,
            format!(
                "with {digits} digits and {failures_in_all} wrong codes a day somebody who only guesses gets in once in {} days; allow fewer or ask for more digits",
                codes / failures_in_all
            ),
        );
    }
    Some(Policy {
        code_digits: size(digits),
        code_lifetime_ms: minutes? * MINUTE_MS,
        tries_per_code: u32_of(tries?),
        failures_per_day: u32_of(failures),
        failures_per_day_in_all: u32_of(failures_in_all),
        resend_after_ms: resend? * SECOND_MS,
        mails_per_hour: u32_of(mails_per_hour),
        mails_per_day: u32_of(mails_per_day),
        message_age_max_ms: message_age? * MINUTE_MS,
        binding_idle_ms: idle? * DAY_MS,
        binding_age_max_ms: age?.map(|days| days * DAY_MS),
        replies_per_hour: u32_of(replies?),
        link_lifetime_ms: link_minutes? * MINUTE_MS,
        links_per_hour: u32_of(links?),
        passwords_per_link: u32_of(passwords_per_link?),
        passwords_per_user_per_hour: u32_of(passwords_per_user?),
        passwords_per_network: u32_of(passwords_per_network?),
        return_code_lifetime_ms: return_code_minutes? * MINUTE_MS,
        ..Policy::default()
    })
}
