package console

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"sealpost/provisioning/operator"
	"sealpost/provisioning/user"
)

// explain asks for a message, and shows what would happen to it.
func (s *session) explain(ctx context.Context) error {
	q, err := s.askMessage(ctx)
	if err != nil {
		return err
	}
	_, err = s.runCancellable(ctx, func(ctx context.Context) error {
		steps, err := s.box.Explain(ctx, q)
		for _, step := range steps {
			s.t.Item("  "+step.Name, step.Text)
		}
		return err
	})
	return err
}

// askMessage asks for the parts of a message that settings decide on.
func (s *session) askMessage(ctx context.Context) (q operator.Question, err error) {
	if err := s.ask(ctx, question{"Address of the device", "", func(answer string) error {
		if _, err := netip.ParseAddr(answer); err != nil {
			return invalidInput(fmt.Sprintf("%q is not an address: type it like 192.168.10.20.", answer))
		}
		q.Client = answer
		return nil
	}}); err != nil {
		return q, err
	}
	if err := s.askOptional(ctx, "Sender", "", func(answer string) error {
		if q.From = answer; answer == "" {
			return nil
		}
		return checkMailboxes(answer)
	}); err != nil {
		return q, err
	}
	if err := s.ask(ctx, question{"Recipients, with spaces between them", "", func(answer string) error {
		q.To = words(answer)
		return checkMailboxes(q.To...)
	}}); err != nil {
		return q, err
	}
	if err := s.askOptional(ctx, "Author, in the field From, if it is not the sender", "", func(answer string) error {
		q.Authors = words(answer)
		return checkMailboxes(q.Authors...)
	}); err != nil {
		return q, err
	}
	if err := s.askOptional(ctx, "User that it logs in as", "", func(answer string) error {
		q.User = answer
		return s.checkUser(ctx, answer)
	}); err != nil {
		return q, err
	}
	return q, s.ask(ctx, question{"Does it use TLS", "no", func(answer string) error {
		q.TLS = strings.EqualFold(answer, "yes")
		if !q.TLS && !strings.EqualFold(answer, "no") {
			return invalidInput("Type yes or no.")
		}
		return nil
	}})
}

// checkMailboxes checks the form of addresses.
func checkMailboxes(addresses ...string) error {
	for _, address := range addresses {
		local, domain, _ := strings.Cut(strings.Trim(address, "<>"), "@")
		if local == "" || domain == "" || strings.ContainsAny(domain, "@<>;\" ") {
			return invalidInput(fmt.Sprintf("%q is not an address: type it like scanner@contoso.com.", address))
		}
	}
	return nil
}

// checkUser checks that there is a user of a name; "" is nobody.
func (s *session) checkUser(ctx context.Context, name string) error {
	if name == "" {
		return nil
	}
	var users []user.User
	done, err := s.runCancellable(ctx, func(ctx context.Context) (err error) {
		users, err = s.box.Users(ctx)
		return err
	})
	if err != nil || !done {
		return err
	}
	if _, exists := namedUser(users, name); !exists {
		return invalidInput("There is no user of this name: see the names under users in the menu, or type none.")
	}
	return nil
}
