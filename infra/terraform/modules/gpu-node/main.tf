# One GPU machine that ends itself.

locals {
  tags = {
    Name              = "aiinfra-${var.machines.name}-${var.session}"
    "aiinfra:session" = var.session
    "aiinfra:owner"   = var.owner
    "aiinfra:expires" = var.expires_at
  }
}

resource "aws_instance" "this" {
  ami                    = var.image
  instance_type          = var.instance_type
  subnet_id              = var.machines.subnets[var.zone]
  vpc_security_group_ids = concat([var.machines.security_group], var.machines.more_security_groups)
  iam_instance_profile   = var.machines.instance_profile
  tags                   = local.tags
  volume_tags            = local.tags # in the creating call, which tags of the block device below would not be

  # Its own shutdown, at the deadline or by whoever is on it, ends what is paid for.
  instance_initiated_shutdown_behavior = "terminate"
  user_data_replace_on_change          = true
  user_data = trimsuffix(templatefile("${path.module}/machine.sh.tftpl", {
    expires_at = var.expires_at
    script     = file("${path.module}/../../../machine.sh")
    mig        = var.mig
    ssh_keys   = var.ssh_keys
    user       = var.user
    setup      = var.setup
  }), "\n") # that of the template's last line

  dynamic "instance_market_options" {
    for_each = var.spot ? [1] : []
    content {
      market_type = "spot"
      spot_options {
        spot_instance_type             = "one-time"
        instance_interruption_behavior = "terminate"
        max_price                      = var.most_usd_per_hour
      }
    }
  }

  # With the tags in it, the machine needs no credentials to know what it is.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "enabled"
  }

  root_block_device {
    encrypted             = true
    kms_key_id            = var.kms_key
    volume_type           = "gp3"
    volume_size           = var.root_gib
    delete_on_termination = true
  }
}
