// Fails where the manifest that is given, as JSON, is not as Argo's schema wants it.
import { readFileSync } from "node:fs";
import { CronWorkflow, Workflow } from "@kubernetes-models/argo-workflows/argoproj.io/v1alpha1";

const manifest = JSON.parse(readFileSync(0, "utf8"));
new { CronWorkflow, Workflow }[manifest.kind](manifest).validate();
