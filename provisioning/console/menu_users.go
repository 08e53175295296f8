package console

import (
	"context"
	"strings"

	"sealpost/provisioning/candidate"
	"sealpost/provisioning/user"
)

// users shows the users as whom devices log in, and changes them.
func (s *session) users(ctx context.Context) error {
	var users []user.User
	done, err := s.runCancellable(ctx, func(ctx context.Context) (err error) {
		users, err = s.box.Users(ctx)
		return err
	})
	if err != nil || !done {
		return err
	}
	for _, u := range users {
		s.t.hang("    ", ascii("  "+u.String()))
	}
	choices := []choice{
		{"leave them", func(context.Context) error { return nil }},
		{"add one, or replace it", func(ctx context.Context) error { return s.addUser(ctx, users) }},
	}
	if len(users) == 0 {
		s.t.Say("No users: nobody can log in.")
	} else {
		choices = append(choices, choice{"remove one", func(ctx context.Context) error { return s.removeUser(ctx, users) }})
	}
	return s.choose(ctx, "Users", "1", choices)
}

// namedUser returns the user of that name.
func namedUser(users []user.User, name string) (found user.User, exists bool) {
	for _, u := range users {
		if strings.EqualFold(u.Name, name) {
			return u, true
		}
	}
	return user.User{Name: name}, false
}

// addUser asks for a user. One that exists gets a new password, and is bound to the same
// unless other answers are typed.
func (s *session) addUser(ctx context.Context, users []user.User) error {
	var change user.Change
	err := s.ask(ctx, question{"Name that the device logs in with", "", func(answer string) error {
		if err := user.CheckName(answer); err != nil {
			return invalidInput(sentence(err) + ".")
		}
		change.User, change.Replace = namedUser(users, answer)
		return nil
	}})
	if err != nil {
		return err
	}
	if change.Replace {
		s.t.Say("This user exists: it gets the password that you type now.")
	}
	if change.Password, err = s.newPassword(ctx); err != nil {
		return err
	}
	if err := s.askMechanism(ctx, &change.User); err != nil {
		return err
	}
	if err := s.bindUser(ctx, &change.User); err != nil {
		return err
	}
	s.t.Say("The user %s.", change.User)
	_, err = s.commit(ctx, candidate.Candidate{Users: []user.Change{change}})
	return err
}

// newPassword asks for a password twice, because it is not shown.
func (s *session) newPassword(ctx context.Context) (password user.Password, err error) {
	err = s.askUntilValid(ctx, func() error {
		s.t.Print("Password, at least 8 characters, not shown: ")
		typed, err := s.t.Secret(ctx)
		if err != nil {
			return err
		}
		password = user.Password(typed)
		if err := user.CheckPassword(password); err != nil {
			return invalidInput(sentence(err) + ".")
		}
		s.t.Print("The same password again: ")
		repeated, err := s.t.Secret(ctx)
		if err == nil && repeated != typed {
			return invalidInput("The passwords are different.")
		}
		return err
	})
	return password, err
}

// askMechanism asks whether the device needs CRAM-MD5.
func (s *session) askMechanism(ctx context.Context, u *user.User) error {
	preset := "no"
	if u.CRAMMD5 {
		preset = "yes"
	}
	s.t.Say("For a device that knows only CRAM-MD5, the box stores the password itself, sealed.")
	return s.ask(ctx, question{"Does the device need CRAM-MD5", preset, func(answer string) error {
		u.CRAMMD5 = strings.EqualFold(answer, "yes")
		if !u.CRAMMD5 && !strings.EqualFold(answer, "no") {
			return invalidInput("Type yes or no.")
		}
		return nil
	}})
}

// bindUser asks what the user is bound to.
func (s *session) bindUser(ctx context.Context, u *user.User) error {
	var clients []string
	for _, network := range u.Clients {
		clients = append(clients, network.String())
	}
	s.t.Say("The user can be bound to addresses or networks of devices, and to senders and recipients: addresses, or @ and a domain, with spaces between them.")
	err := s.askOptional(ctx, "Log in only from", strings.Join(clients, " "), func(answer string) error {
		parsed, err := user.Parse(u.Name, words(answer), nil, nil)
		if err != nil {
			return invalidInput(sentence(err) + ".")
		}
		u.Clients = parsed.Clients
		return nil
	})
	if err != nil {
		return err
	}
	for _, bound := range []struct {
		prompt    string
		addresses *[]string
	}{{"Send only as", &u.Senders}, {"Send only to", &u.Recipients}} {
		err := s.askOptional(ctx, bound.prompt, strings.Join(*bound.addresses, " "), func(answer string) error {
			parsed, err := user.Parse(u.Name, nil, words(answer), nil)
			if err != nil {
				return invalidInput(sentence(err) + ".")
			}
			*bound.addresses = parsed.Senders
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// words splits an answer at spaces and commas.
func words(answer string) []string {
	return strings.FieldsFunc(answer, func(r rune) bool { return r == ' ' || r == ',' })
}

// removeUser removes one user.
func (s *session) removeUser(ctx context.Context, users []user.User) error {
	var u user.User
	err := s.ask(ctx, question{"Name of the user", "", func(answer string) error {
		var exists bool
		if u, exists = namedUser(users, answer); !exists {
			return invalidInput("There is no user of this name: type one of the names above.")
		}
		return nil
	}})
	if err != nil {
		return err
	}
	s.t.Say("No device can log in as %s any more.", u.Name)
	_, err = s.commit(ctx, candidate.Candidate{Users: []user.Change{{User: u, Remove: true}}})
	return err
}
