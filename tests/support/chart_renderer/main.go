// Renders a chart's templates with Go's own template engine, which is Helm's, and those of Helm's functions that the chart uses.
// JSON in: {"templates": {path: text}, "data": {...}}; JSON out: {path: text}. An error ends it with 1, and is said.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"sort"
	"strings"
	"text/template"
)

type input struct {
	Templates map[string]string
	Data      map[string]any
}

func empty(value any) bool {
	truth, ok := template.IsTrue(value)
	return !ok || !truth
}

func text(value any) string {
	if value == nil {
		return ""
	}
	return fmt.Sprint(value)
}

func integer(value any) int64 {
	switch number := reflect.ValueOf(value); number.Kind() {
	case reflect.Float64:
		return int64(number.Float())
	case reflect.Int, reflect.Int64:
		return number.Int()
	}
	return 0
}

func indent(count int, of string) string {
	pad := strings.Repeat(" ", count)
	return pad + strings.ReplaceAll(of, "\n", "\n"+pad)
}

func toJSON(value any) (string, error) {
	var written bytes.Buffer
	encoder := json.NewEncoder(&written)
	encoder.SetEscapeHTML(false)
	err := encoder.Encode(value)
	return strings.TrimSuffix(written.String(), "\n"), err
}

// The outermost table or list is a block, beside which a template may write more; what is within is JSON, which YAML includes.
func toYaml(value any) (string, error) {
	var lines []string
	switch given := value.(type) {
	case map[string]any:
		for key, each := range given {
			written, err := toJSON(each)
			if err != nil {
				return "", err
			}
			lines = append(lines, fmt.Sprintf("%q: %s", key, written))
		}
		sort.Strings(lines)
	case []any:
		for _, each := range given {
			written, err := toJSON(each)
			if err != nil {
				return "", err
			}
			lines = append(lines, "- "+written)
		}
	}
	if lines == nil {
		return toJSON(value)
	}
	return strings.Join(lines, "\n"), nil
}

func functions(all *template.Template) template.FuncMap {
	return template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var written strings.Builder
			err := all.ExecuteTemplate(&written, name, data)
			return written.String(), err
		},
		"required": func(message string, value any) (any, error) {
			if value == nil || value == "" {
				return nil, errors.New(message)
			}
			return value, nil
		},
		"fail":       func(message string) (string, error) { return "", errors.New(message) },
		"toYaml":     toYaml,
		"indent":     indent,
		"nindent":    func(count int, of string) string { return "\n" + indent(count, of) },
		"quote":      func(value any) string { return fmt.Sprintf("%q", text(value)) },
		"contains":   func(part, of string) bool { return strings.Contains(of, part) },
		"trimSuffix": func(end, of string) string { return strings.TrimSuffix(of, end) },
		"lower":      strings.ToLower,
		"splitList":  func(by, of string) []string { return strings.Split(of, by) },
		"last":       func(of []string) string { return of[len(of)-1] },
		"regexMatch": func(pattern, of string) (bool, error) { return regexp.MatchString(pattern, of) },
		"empty":      empty,
		"int":        integer,
		"add":        func(a, b any) int64 { return integer(a) + integer(b) },
		"trunc": func(count int, of string) string {
			if len(of) > count {
				return of[:count]
			}
			return of
		},
		"default": func(otherwise, given any) any {
			if empty(given) {
				return otherwise
			}
			return given
		},
		"ternary": func(yes, no any, which bool) any {
			if which {
				return yes
			}
			return no
		},
	}
}

func render(given input) (map[string]string, error) {
	all := template.New("chart").Option("missingkey=zero")
	all.Funcs(functions(all))
	for path, content := range given.Templates {
		if _, err := all.New(path).Parse(content); err != nil {
			return nil, err
		}
	}
	rendered := map[string]string{}
	for path := range given.Templates {
		if strings.HasSuffix(path, ".tpl") {
			continue
		}
		var written strings.Builder
		if err := all.ExecuteTemplate(&written, path, given.Data); err != nil {
			return nil, err
		}
		rendered[path] = strings.ReplaceAll(written.String(), "<no value>", "")
	}
	return rendered, nil
}

func main() {
	var given input
	content, err := io.ReadAll(os.Stdin)
	if err == nil {
		err = json.Unmarshal(content, &given)
	}
	var rendered map[string]string
	if err == nil {
		rendered, err = render(given)
	}
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(rendered)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
