package networktest

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"testing"

	"go.uber.org/goleak"

	"sealpost/hal/linux/network"
)

// boxVariable makes the test program act as the box. Its value is the path of
// resolv.conf.
const boxVariable = "SEALPOST_TEST_BOX"

func TestMain(m *testing.M) {
	if path := os.Getenv(boxVariable); path != "" {
		if err := runBox(path, os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	// The tests mostly wait for timers of the protocols.
	flag.Parse()
	if err := flag.Set("test.parallel", "16"); err != nil {
		panic(err)
	}
	os.Exit(m.Run())
}

// runBox manages eth0 with settings from input until input ends, and prints each change
// of the status.
func runBox(resolvConf string, input io.Reader, output io.Writer) error {
	manager := network.New(network.Options{Interface: "eth0", ResolvConf: resolvConf})
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	configs := make(chan network.Config)
	go func() {
		defer close(configs)
		for decoder := json.NewDecoder(input); ; {
			var config network.Config
			if decoder.Decode(&config) != nil {
				return
			}
			configs <- config
		}
	}()
	manager.Apply(<-configs)
	ran := make(chan error, 1)
	go func() { ran <- manager.Run(ctx) }()
	for encoder := json.NewEncoder(output); ; {
		select {
		case <-manager.Changes():
			if err := encoder.Encode(manager.Status()); err != nil {
				return err
			}
		case config, ok := <-configs:
			if !ok {
				cancel()
				return errors.Join(<-ran, goleak.Find())
			}
			manager.Apply(config)
		case err := <-ran:
			return fmt.Errorf("the network manager ended: %w", err)
		}
	}
}
