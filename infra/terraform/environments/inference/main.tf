# Machines that answer: on demand, and reached by those who ask.

provider "aws" {
  region = var.region
  default_tags {
    tags = { "aiinfra:environment" = "inference" }
  }
}

module "environment" {
  source = "../../modules/environment"
  name   = "inference"
  cidr   = var.cidr
  zones  = var.zones
  doors = {
    ssh     = { port = 22, from = var.ssh_from }
    serving = { port = var.serving_port, from = var.serving_from }
  }
}

module "node" {
  source        = "../../modules/gpu-node"
  for_each      = var.nodes
  session       = each.key
  owner         = var.owner
  expires_at    = each.value.expires_at
  machines      = module.environment.machines
  image         = var.image
  instance_type = each.value.instance_type
  zone          = each.value.zone
  spot          = each.value.spot
  mig           = each.value.mig
  root_gib      = each.value.root_gib
  ssh_keys      = var.ssh_keys
}

module "pool" {
  source         = "../../modules/gpu-pool"
  for_each       = var.pools
  session        = each.key
  owner          = var.owner
  expires_at     = each.value.expires_at
  machines       = module.environment.machines
  image          = var.image
  instance_types = each.value.instance_types
  min            = each.value.min
  max            = each.value.max
  spot           = each.value.spot
  mig            = each.value.mig
  root_gib       = each.value.root_gib
  ssh_keys       = var.ssh_keys
}
