package console

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"sealpost/provisioning/operator"
	"sealpost/provisioning/settings"
)

// maxLearning is the longest learn mode that the relay accepts.
const maxLearning = 2 * time.Hour

// learn begins or ends learn mode.
func (s *session) learn(ctx context.Context, current operator.Learning) error {
	s.t.Say("In learn mode everything in a network may send, so that the list shows what does. It ends by itself, and whenever the relay restarts, as for new settings.")
	prompt := "How long, such as 30m, at most 2h"
	if current.For > 0 {
		prompt += "; stop ends it"
	}
	var mode operator.Learning
	err := s.ask(ctx, question{prompt, "1h", func(answer string) (err error) {
		mode.For, err = parseLearning(answer)
		return err
	}})
	if err != nil {
		return err
	}
	if mode.For == 0 {
		_, err := s.carryOut(ctx, "Learn mode is off.", func(ctx context.Context) error {
			_, err := s.box.Learn(ctx, mode)
			return err
		})
		return err
	}
	if mode.Networks, err = s.askLearnNetworks(ctx); err != nil {
		return err
	}
	var begun operator.Learning
	done, err := s.runCancellable(ctx, func(ctx context.Context) (err error) {
		begun, err = s.box.Learn(ctx, mode)
		return err
	})
	if err == nil && done {
		s.sayLearning(begun)
		s.t.Say("Let the devices send. Then choose adopt under devices in the menu.")
	}
	return err
}

// parseLearning reads how long learn mode is to last; 0 for stop.
func parseLearning(answer string) (time.Duration, error) {
	if strings.EqualFold(answer, "stop") {
		return 0, nil
	}
	d, err := time.ParseDuration(answer)
	switch {
	case err != nil || d <= 0:
		return 0, invalidInput(fmt.Sprintf("%q is not a time: type it like 30m or 1h.", answer))
	case d < time.Minute:
		return 0, invalidInput("That is less than a minute: type a longer time.")
	case d > maxLearning:
		return 0, invalidInput("Learn mode lasts at most 2 hours: type 2h or less.")
	}
	return d, nil
}

// askLearnNetworks asks which networks to open; the preset is the box's own.
func (s *session) askLearnNetworks(ctx context.Context) (networks []netip.Prefix, err error) {
	var own []string
	if status, err := s.box.Status(ctx); err == nil {
		for _, address := range status.Network.Addresses {
			if !address.Addr().IsLinkLocalUnicast() {
				own = append(own, address.Masked().String())
			}
		}
	}
	err = s.ask(ctx, question{"Network to open, such as 192.168.10.0/24", strings.Join(own, ", "), func(answer string) error {
		networks = nil
		for _, text := range words(answer) {
			var network settings.AddressOrNetwork
			if err := network.UnmarshalText([]byte(text)); err != nil {
				return invalidInput(sentence(err) + ".")
			}
			if settings.IsPublicNetwork(network.Prefix) {
				return invalidInput(fmt.Sprintf("%s is a large part of the internet: name the site's own network.", network))
			}
			networks = append(networks, network.Prefix)
		}
		if networks == nil {
			return invalidInput("Type a network, such as 192.168.10.0/24.")
		}
		return nil
	}})
	return networks, err
}
