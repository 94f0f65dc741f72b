//! The process, the weather, phones that change, and what operators and bots do.

use super::*;

impl World {
    /// A clock that was set by more than an hour, or may have been while nobody looked, is believed
    /// after a day.
    pub(super) fn is_clock_believed(&mut self) -> bool {
        // A doubt is as old as since somebody asked: both are asked.
        self.house().app.is_clock_believed();
        let shown = self.clocks_show();
        self.clocks.are_believed(shown)
    }

    fn clocks_show(&self) -> Shows {
        (self.now(), self.house().clock.steady_ms())
    }

    /// The program writes down when it last ran with a clock that is believed, or how long it has run
    /// with one that is not.
    pub(super) fn note_time(&mut self) {
        self.house().app.note_time().unwrap();
        self.noted();
    }

    pub(super) fn noted(&mut self) {
        let shown = self.clocks_show();
        match self.clocks.are_believed(shown) {
            true => self.clocks_noted = (shown.0.max(self.clocks_noted.0), None),
            false => self.clocks_noted.1 = Some((shown.0, self.clocks.doubted_ms)),
        }
    }

    pub(super) fn settle(&mut self) {
        self.house().settle();
    }

    /// The process comes to its end, and another one begins.
    pub(super) fn restart(&mut self) {
        self.note_time();
        self.begin_again();
    }

    pub(super) fn begin_again(&mut self) {
        let house = self.house.take().unwrap();
        self.house = Some(house.restarted());
        self.janitor = Janitor::default();
        self.clocks = Clocks::beginning(self.clocks_show(), self.clocks_noted);
    }

    /// The process is killed, and the clock of the machine goes back before another one starts.
    pub(super) fn back_at_restart(&mut self, noted_ago_ms: u64, by_ms: u64) {
        let now = self.now();
        // In a doubt the time is not noted, and then no more than a minute is promised.
        let in_doubt = !self.is_clock_believed() || self.clocks_noted.1.is_some();
        if in_doubt && by_ms > MINUTE_MS {
            return;
        }
        if !in_doubt {
            let noted_at = now - noted_ago_ms;
            self.house().note_time_at(Timestamp(noted_at));
            self.clocks_noted = (noted_at.max(self.clocks_noted.0), None);
        }
        let wall = Timestamp(now - by_ms);
        let earliest = self.house().earliest_start(wall);
        self.house().clock.set(earliest.max(wall));
        self.ends_suddenly();
        self.note_time();
    }

    /// Something leaves of each lane, and nobody writes down that it did; on a disk, the power may also
    /// fail a little later.
    pub(super) fn die(&mut self) {
        for lane in portero::domain::delivery::Lane::ALL {
            let disk = self.disk.clone();
            let dying: Box<dyn Fn() + Send> = match disk.clone() {
                Some(disk) => Box::new(move || disk.fails_soon()),
                None => {
                    let memory = Arc::clone(self.house().memory());
                    Box::new(move || {
                        memory.refuse_commits(Some(StoreError::Broken("the end".into())))
                    })
                }
            };
            self.house()
                .world
                .change(|outside| outside.afterwards = Some(dying));
            self.house().outbox.drain(lane);
            self.house()
                .world
                .change(|outside| outside.afterwards = None);
            match disk {
                Some(_) => self.ends_suddenly(),
                None => self.house().memory().refuse_commits(None),
            }
        }
        if self.disk.is_none() {
            self.begin_again();
        }
    }

    pub(super) fn change_weather(&mut self, weather: Weather) {
        self.weather = weather;
        let down = match weather {
            Weather::OneServiceDown => [false, true],
            Weather::ServicesDown => [true, true],
            _ => [false, false],
        };
        self.is_partly_known |= weather == Weather::OneServiceDown;
        self.house().service_is_down("kutamma", down[0]);
        self.house().service_is_down("woku", down[1]);
        let fails = || Takes::Not(server_error());
        self.house().world.change(|outside| {
            outside.whatsapp = match weather {
                Weather::WhatsAppFails => fails(),
                Weather::WhatsAppSilent => Takes::ItSilently,
                _ => Takes::It,
            };
            outside.mail = match weather {
                Weather::MailFails => Takes::Not(failure(FailureKind::Unreachable, "no route")),
                Weather::MailSilent => Takes::ItSilently,
                _ => Takes::It,
            };
            outside.bot = match weather {
                Weather::BotFails => fails(),
                Weather::BotSilent => Takes::ItSilently,
                _ => Takes::It,
            };
            outside.is_careless = weather == Weather::ServicesCareless;
        });
    }

    pub(super) fn fresh_names(&mut self, who: Who) {
        self.renamed += 1;
        let person = &mut self.people[who as usize];
        if person.wa_id.is_some() {
            let number = format!(
                "346100{:02}{:03}",
                10 + self.renamed % 90,
                600 + self.renamed
            );
            person.wa_id = WaId::parse(&number).ok();
        }
        if person.bsuid.is_some() {
            person.bsuid = Bsuid::parse(&format!("ES.new{}", self.renamed)).ok();
        }
    }

    pub(super) fn new_number(&mut self, who: Who) -> Held {
        let (before, now) = (self.person(who).clone(), self.now());
        self.fresh_names(who);
        self.events += 1;
        let id = self.house().text(&before, "").id;
        let change = WebhookItem::IdentityChanged(IdentityChanged {
            id,
            at: Timestamp(now),
            before: before.sender(),
        });
        self.history.push(change.clone());
        self.receive(change)?;
        self.model.changed(&names_of(&before), now);
        Ok(())
    }

    pub(super) fn takes_number(&mut self, taker: Who, loser: Who) {
        // Whoever shows no BSUID cannot be told apart from whoever had the number before.
        if taker == loser
            || self.person(taker).bsuid.is_none()
            || self.person(loser).wa_id.is_none()
            || self.person(taker).wa_id.is_none()
        {
            return;
        }
        let number = self.person(loser).wa_id.clone();
        self.fresh_names(loser);
        self.people[taker as usize].wa_id = number;
    }

    pub(super) fn bot_link(&mut self, who: Who, send: bool) -> Held {
        use portero::app::Granted;
        let Some(chat) = self.chat_of(who) else {
            return Ok(());
        };
        let (id, now) = (self.ids[chat].unwrap(), self.now());
        self.events += 1;
        let granted = self.house().app.grant("bot", id, Wish::Link { send }, None);
        let granted = granted.unwrap();
        let is_closed = now > self.model.chat(chat).last_wrote + 23 * 60 * MINUTE_MS;
        let expected = match () {
            () if !self.setting.policy.methods.web => "no way",
            () if send && is_closed => "closed",
            () => self.model.send_link(chat, now),
        };
        let (was, url) = match granted {
            Granted::Link { url, .. } => ("link_sent", url),
            Granted::Limited { .. } => ("limited", None),
            Granted::Closed => ("closed", None),
            Granted::NoWay => ("no way", None),
            other => return broken(MODEL, format!("the bot got {other:?}")),
        };
        if was != expected {
            return broken(MODEL, format!("the bot got {was}, not {expected}"));
        }
        if let Some(url) = url {
            let hash = MappingHash::parse(url.reveal().rsplit('=').next().unwrap()).unwrap();
            let number = self.model.chat(chat).link.as_ref().unwrap().number;
            self.links
                .entry(who)
                .or_default()
                .push(SentLink { hash, number });
        }
        Ok(())
    }

    pub(super) fn forget_chat(&mut self, who: Who) -> Held {
        let Some(chat) = self.chat_of(who) else {
            return Ok(());
        };
        let contact = self.contact(chat).cloned();
        let Some(contact) = contact else {
            return Ok(());
        };
        self.house().app.forget(&Whom::User(contact.id)).unwrap();
        self.model.forget_chat(chat);
        self.ids[chat] = None;
        self.happens("a chat was forgotten");
        self.guesses.clear();
        crate::simulation::invariants::is_nowhere(self, &contact, None)
    }

    pub(super) fn forget_address(&mut self, who: Who) -> Held {
        let address = address_of(who);
        let email = EmailAddress::parse(&address).unwrap();
        self.house().app.forget(&Whom::Email(email)).unwrap();
        self.model.forget_address(&address);
        let gone: Vec<usize> = (0..self.model.chats.len())
            .filter(|chat| self.model.chats[*chat].is_none() && self.ids[*chat].is_some())
            .collect();
        self.guesses.clear();
        for chat in gone {
            let contact = self.contact(chat).cloned();
            self.ids[chat] = None;
            if let Some(contact) = contact {
                crate::simulation::invariants::is_nowhere(self, &contact, Some(&address))?;
            }
        }
        crate::simulation::invariants::address_is_nowhere(self, &address)
    }
}
