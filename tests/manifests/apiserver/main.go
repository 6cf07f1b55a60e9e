// Asks the code of Kubernetes' API server itself: is the CustomResourceDefinition sound, and what do its schema and rules say of
// objects? Reads the CRD (YAML) and cases (JSON: a list of name, new and old object); writes what was found as JSON.
package main

import (
	"context"
	"encoding/json"
	"os"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/install"
	v1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/cel"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	apivalidation "k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apimachinery/pkg/runtime"
	utiljson "k8s.io/apimachinery/pkg/util/json"
	"k8s.io/apimachinery/pkg/util/validation/field"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"sigs.k8s.io/yaml"
)

type object = map[string]interface{}

type verdict struct {
	Unknown []string `json:"unknown"`
	Schema  []string `json:"schema"`
	Rules   []string `json:"rules"`
}

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func texts(errors field.ErrorList, detail bool) []string {
	found := []string{}
	for _, one := range errors {
		if detail {
			found = append(found, one.Detail)
		} else {
			found = append(found, one.Error())
		}
	}
	return found
}

func read(path string) (internal apiextensions.CustomResourceDefinition) {
	var crd v1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(must(os.ReadFile(path)), &crd); err != nil {
		panic(err)
	}
	scheme := runtime.NewScheme()
	install.Install(scheme)
	scheme.Default(&crd)
	if err := scheme.Convert(&crd, &internal, nil); err != nil {
		panic(err)
	}
	internal.Status.StoredVersions = []string{internal.Spec.Versions[0].Name}
	return internal
}

func main() {
	ctx := context.Background()
	crd := read(os.Args[1])
	found := texts(validation.ValidateCustomResourceDefinition(ctx, &crd), false)
	cases := map[string]verdict{}
	if len(found) == 0 {
		schema := crd.Spec.Validation.OpenAPIV3Schema
		structural := must(structuralschema.NewStructural(schema))
		rules := cel.NewValidator(structural, true, celconfig.PerCallLimit)
		fields, _, err := apivalidation.NewSchemaValidator(schema)
		must(0, err)
		var given []struct {
			Name string `json:"name"`
			New  object `json:"new"`
			Old  object `json:"old"`
		}
		must(0, utiljson.Unmarshal(must(os.ReadFile(os.Args[2])), &given))
		for _, one := range given {
			var old interface{}
			if one.Old != nil {
				old = one.Old
			}
			wrong := texts(apivalidation.ValidateCustomResource(nil, one.New, fields), false)
			broken, _ := rules.Validate(ctx, nil, structural, one.New, old, celconfig.RuntimeCELCostBudget)
			options := structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: true}
			unknown := append([]string{}, pruning.PruneWithOptions(one.New, structural, true, options)...)
			cases[one.Name] = verdict{Unknown: unknown, Schema: wrong, Rules: texts(broken, true)}
		}
	}
	must(0, json.NewEncoder(os.Stdout).Encode(object{"problems": found, "cases": cases}))
}
