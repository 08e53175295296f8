package fault

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"slices"
	"strconv"
	"testing"
)

var (
	errNone = New(NoCertificate, "there is no certificate")
	cures   = Cures{NoCertificate: "import one", NoState: "make {path}"}
)

func TestFault_IsFoundByItsCodeWhateverItsFactsAndCauses(t *testing.T) {
	err := fmt.Errorf("opening: %w", errNone.With("name", "relay").Wrap(fs.ErrNotExist))
	if !errors.Is(err, errNone) || !errors.Is(err, fs.ErrNotExist) || errors.Is(err, New(NoState, "")) || CodeOf(err) != NoCertificate {
		t.Errorf("got %v", err)
	}
	if errNone.Facts != nil || errNone.Err != nil {
		t.Error("the fault as declared was changed")
	}
	if errors.Is(&Fault{Text: "a"}, &Fault{Text: "b"}) {
		t.Error("faults without a code are the same")
	}
}

func TestFault_KeepsItsCodeOverAProcessBoundary(t *testing.T) {
	err := errors.Join(fmt.Errorf("opening: %w", errNone.Wrap(fs.ErrNotExist)), errors.New("one\ntwo"), New(NoState, "no state").With("path", "box.state"))
	got := Decode(Encode(err))
	if got.Error() != err.Error() || !errors.Is(got, errNone) {
		t.Errorf("got %v, sent %v", got, err)
	}
	if faults := List(got); len(faults) != 4 || faults[3].Facts["path"] != "box.state" || faults[1].Code != "" {
		t.Errorf("got %v", faults)
	}
	for text, want := range map[string]string{"plain words\n": "plain words", "{}": "it failed without a message", `{"faults":[null,{}]}`: "it failed without a message"} {
		if got := Decode([]byte(text)); got == nil || got.Error() != want {
			t.Errorf("%q gives %v", text, got)
		}
	}
	if got := Decode([]byte(`{"faults":[null,{"text":"a","code":"no-state"},{}]}`)); got == nil || got.Error() != "a" || CodeOf(got) != NoState {
		t.Errorf("faults between empty ones give %v", got)
	}
	var typedNil *Fault
	if CodeOf(typedNil) != "" || typedNil.Error() == "" || errors.Is(typedNil, errNone) {
		t.Error("a nil fault is taken for one")
	}
	if err := fmt.Errorf("both: %w", errors.Join(errors.New("plain"), errNone)); CodeOf(err) != NoCertificate {
		t.Errorf("after an error without a code: got code %q, want %q", CodeOf(err), NoCertificate)
	}
	if faults := List(errors.New("")); len(faults) != 1 || faults[0].Text == "" {
		t.Errorf("an error without a text gives %v", faults)
	}
	if got := Decode(nil); got != nil {
		t.Errorf("nothing gives %v", got)
	}
}

func TestWords_PutTheCureBehindEachFault(t *testing.T) {
	err := errors.Join(fmt.Errorf("showing: %w", errNone), New(NoState, "no state").With("path", "box.state"), errors.New("something else"))
	const want = "showing: there is no certificate: import one\nno state: make box.state\nsomething else"
	if got := cures.Text(err); got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestList_KeepsTheWordsOfSeveralCausesTogether(t *testing.T) {
	err := fmt.Errorf("%w (%w)", errNone, errors.New("checksum"))
	if faults := List(err); len(faults) != 1 || faults[0].Text != "there is no certificate (checksum)" || faults[0].Code != NoCertificate {
		t.Errorf("got %v", faults)
	}
}

func TestMark_GivesACodeOnlyWhereThereIsNone(t *testing.T) {
	if err := Mark(NoState, errNone); CodeOf(err) != NoCertificate {
		t.Errorf("got %v, want %v", CodeOf(err), NoCertificate)
	}
	plain := errors.New("plain")
	if err := Mark(NoState, plain); CodeOf(err) != NoState || err.Error() != "plain" || !errors.Is(err, plain) || Mark(NoState, nil) != nil {
		t.Errorf("got %v", err)
	}
}

func TestAll_HasEveryCode(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	declared := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || len(spec.Values) != 1 {
			return true
		}
		literal, ok := spec.Values[0].(*ast.BasicLit)
		if !ok {
			return true
		}
		declared++
		if code, err := strconv.Unquote(literal.Value); err != nil || !slices.Contains(All, Code(code)) {
			t.Errorf("All lacks %s", literal.Value)
		}
		return true
	})
	if declared != len(All) || declared < 20 {
		t.Errorf("%d codes are declared, All has %d", declared, len(All))
	}
}
